"""Draws that lie on disk, as a posterior has them: chosen, thinned and joined without being read, read where indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._array import Array

BLOCK = 2**23
"""Bytes that are read at a time where all draws are gone through, one after the other."""
SCALARS = 2**26
"""And where a few numbers of all draws are: longer runs of the disk."""


class Source(NamedTuple):
    """One chain: where it is, in memory or on disk, ``[chain, draw, *shape]``; its number there, and those of its draws."""

    array: Array | Tensor
    chain: int
    draws: np.ndarray

    def read(self, at: Any, rest: tuple[Any, ...]) -> Tensor:
        """The draws at these places, ``[draw, …]``."""
        if isinstance(self.array, Tensor):
            return self.array[self.chain][self.draws[at]][(slice(None), *rest)]
        return torch.from_numpy(self.array.chosen(self.chain, self.draws[at], rest))

    def scalars(self, span: slice) -> Tensor:
        """These numbers of all draws, which are taken as flat: ``[draw, number]``."""
        if isinstance(self.array, Tensor):
            return self.array[self.chain].flatten(1)[self.draws, span]
        return torch.from_numpy(self.array.chosen(self.chain, self.draws, (span,), flat=True))


class Stored:
    """Draws ``[chain, draw, *shape]`` of a site that lie on disk.

    ``stored[:, 10:20]`` reads ten draws as a tensor; ``stored[:]`` or ``stored.tensor()`` all of them. ``shape``, ``dtype``,
    ``dim()`` and ``len()`` are those of that tensor. An index has numbers, slices and one array or list. Nothing
    that was read is kept.

    Reading raises FileNotFoundError or OSError where the files are gone or damaged, never anything else than the draws.
    """

    device = torch.device("cpu")

    def __init__(self, chains: Sequence[Source]) -> None:
        self.chains = tuple(chains)
        first = self.chains[0].array
        self.dtype: torch.dtype = (
            first.dtype if isinstance(first, Tensor) else torch.from_numpy(np.empty(0, first.dtype)).dtype
        )
        self.shape = torch.Size((len(self.chains), len(self.chains[0].draws), *first.shape[2:]))

    @classmethod
    def of(cls, array: Array | Tensor | Stored, chains: Sequence[int] | None = None, draws: int | None = None) -> Stored:
        """These chains (None: all) and their first draws (None: all) of an array."""
        if isinstance(array, Stored):
            return array
        numbers = np.arange(array.shape[1] if draws is None else draws)
        return cls([Source(array, c, numbers) for c in (range(array.shape[0]) if chains is None else chains)])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def element_size(self) -> int:
        return self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        index = _whole(index, self.dim())
        chains, draws = (np.asarray(np.arange(size)[_numpy(i)]) for size, i in zip(self.shape, index[:2], strict=False))
        rest = tuple(map(_numpy, index[2:]))
        if not chains.size:
            none = self.chains[0].read(draws.reshape(-1)[:0], rest)
            return none.new_empty((0, *draws.shape, *none.shape[1:]))
        first, *others = chains.reshape(-1)
        out = self.chains[first].read(draws.reshape(-1), rest)
        if chains.ndim:
            own, out = out, out.new_empty((len(chains), *out.shape)) if others else out[None]
            out[0] = own
            for i, chain in enumerate(others, 1):
                out[i] = self.chains[chain].read(draws.reshape(-1), rest)
        return out if draws.ndim else out.squeeze(chains.ndim)

    def tensor(self) -> Tensor:
        """All draws, read into memory."""
        return self[:]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self[:].numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def select(self, chains: Any = None, draws: Any = None) -> Stored:
        """These chains and draws (numbers, slices, arrays) in this order; nothing is read."""
        picked = [self.chains[c] for c in _numbers(chains, self.shape[0], "chains")]
        at = _numbers(draws, self.shape[1], "draws")
        return Stored([source._replace(draws=source.draws[at]) for source in picked])

    @property
    def flat(self) -> Flat:
        """All draws of all chains in one row, ``[chain · draw, *shape]``."""
        return Flat(self)

    def blocks(self) -> Iterator[Tensor]:
        """All draws in order, some at a time: ``[chain, some draws, *shape]``."""
        step = max(BLOCK // max(self.shape[0] * prod(self.shape[2:]) * self.element_size(), 1), 1)
        return (self[:, at : at + step] for at in range(0, self.shape[1], step))

    def scalars(self) -> Iterator[Tensor]:
        """All numbers of a draw in order, some at a time: ``[chain, draw, some]``."""
        size = prod(self.shape[2:])
        step = max(SCALARS // max(self.shape[0] * self.shape[1] * self.element_size(), 1), 1)
        for at in range(0, size, step):
            yield torch.stack([source.scalars(slice(at, min(at + step, size))) for source in self.chains])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"these draws lie on disk and have no {name!r}: read them first, as sites[name][:] or some of them"
        )

    def __repr__(self) -> str:
        return f"Stored({list(self.shape)}, {self.dtype}, on disk)"


class Flat:
    """Draws of all chains in one row: ``flat[3]`` and ``flat[3:90]`` read."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.dtype = stored, stored.dtype
        self.shape = torch.Size((stored.shape[0] * stored.shape[1], *stored.shape[2:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: int | slice) -> Tensor:
        each = self.stored.shape[1]
        if not isinstance(at, slice):
            return self.stored[at // each, at % each]
        start, stop, _ = at.indices(len(self))
        parts = [
            self.stored[chain, max(start - chain * each, 0) : stop - chain * each]
            for chain in range(start // each, -(-stop // each))
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def flattened(value: Tensor | Stored) -> Any:
    """Draws ``[chain, draw, *shape]`` as ``[chain · draw, *shape]``."""
    return value.flat if isinstance(value, Stored) else value.reshape(-1, *value.shape[2:])


def in_blocks(value: Tensor | Stored) -> Iterator[Tensor]:
    """Draws ``[chain, draw, *shape]``, of those on disk some at a time."""
    return value.blocks() if isinstance(value, Stored) else iter([value])


def selected(value: Tensor | Stored, chains: Any = None, draws: Any = None) -> Any:
    """These chains and draws of ``[chain, draw, …]``; on disk they stay there."""
    if isinstance(value, Stored):
        return value.select(chains, draws)
    return value[_numbers(chains, value.shape[0], "chains")][:, _numbers(draws, value.shape[1], "draws")]


def joined(values: Sequence[Tensor | Stored]) -> Any:
    """Along chains."""
    if not any(isinstance(value, Stored) for value in values):
        return torch.cat(list(values))  # type: ignore[arg-type]
    return Stored([source for value in values for source in Stored.of(value).chains])


def _numbers(chosen: Any, size: int, what: str) -> np.ndarray:
    """Numbers of what is chosen out of ``size``: one number, a slice, an array or list of numbers or booleans; None: all."""
    index = slice(None) if chosen is None else _numpy(chosen)
    if isinstance(index, np.ndarray) and index.dtype.kind not in "iub":
        raise TypeError(f"{what} must be a number, a slice, or whole numbers or booleans in a list or array, got {chosen!r}")
    try:
        found = np.atleast_1d(np.arange(size)[index])
    except IndexError as error:
        raise IndexError(f"{what}={chosen!r}: there are {size}, from 0 to {size - 1}") from error
    if not found.size or found.ndim > 1:
        raise ValueError(f"{what}={chosen!r} chooses none of {size}")
    return found


def _numpy(index: Any) -> Any:
    """An index as NumPy has it."""
    if isinstance(index, Tensor):
        return index.cpu().numpy()
    return np.asarray(index) if isinstance(index, list | tuple | range) else index


def _whole(index: Any, dim: int) -> tuple[Any, ...]:
    """An index for each axis. Raises IndexError for what does not read what a tensor would give."""
    index = index if isinstance(index, tuple) else (index,)
    if any(i is None for i in index):
        raise IndexError("None is no index of draws on disk: read them first, such as sites[name][:][:, None]")
    if at := [n for n, i in enumerate(index) if i is Ellipsis]:
        index = index[: at[0]] + (slice(None),) * (dim - len(index) + 1) + index[at[0] + 1 :]
    if len(index) > dim:
        raise IndexError(f"{len(index)} indices for draws of {dim} dimensions")
    picks = [(n, np.ndim(i)) for n, i in enumerate(map(_numpy, index)) if not isinstance(i, slice)]
    arrays = [size for _, size in picks if size]
    apart = bool(picks) and picks[-1][0] - picks[0][0] >= len(picks)
    if len(arrays) > 1 or 2 in arrays or (arrays and apart):
        raise IndexError("an index of draws on disk has at most one list or array, and no slice between it and a number")
    return index + (slice(None),) * (dim - len(index))
