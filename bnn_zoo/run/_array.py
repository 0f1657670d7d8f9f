"""One variable of a store: a Zarr array (format 3) ``[chain, draw, *shape]`` whose chunks are files of raw numbers.

Written and read here, and not through the zarr package, because a run needs what that does not promise: that draws which
were written before are never rewritten (a kill would tear them), that they are on the disk when a state names them, that
forks write at once, and that some weights of all draws are read without the others. Any reader of Zarr 3 opens it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._disk import told, write_whole

DTYPES = {
    getattr(torch, name): name
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}


@dataclass
class Array:
    """``array[chains, draws, ...]`` reads what is asked for, and nothing else, into a NumPy array.

    An index is a number, a slice, or an array of numbers or booleans; those of chains and draws stand for themselves (chains
    × draws), and of the others one may be an array, among slices. Draws that were not written are nan, or 0 or False.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    dims: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, found: dict[str, Any]) -> Array:
        """The array of this folder, whose ``zarr.json`` says so."""
        rows = found["chunk_grid"]["configuration"]["chunk_shape"][1]
        dtype = np.dtype(found["data_type"]).newbyteorder("<")
        return cls(path, found["attributes"]["name"], tuple(found["shape"]), dtype, rows, tuple(found["dimension_names"]))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        chains, draws, rest = self._split(index)
        row = np.broadcast_to(np.zeros((), self.dtype), self.shape[2:])[rest].shape
        out = np.full((chains.size, draws.size, *row), self._fill, self.dtype)
        wanted = draws.reshape(-1)
        for c, chain in enumerate(chains.reshape(-1) if out.size else ()):
            for number in np.unique(wanted // self.rows):
                path = self._chunk(chain, number)
                if self._there(path):
                    here = wanted // self.rows == number
                    chunk = np.memmap(path, self.dtype, "r", shape=(self.rows, *self.shape[2:]))
                    out[c, here] = chunk[(slice(None), *rest)][wanted[here] % self.rows]
        return out.reshape(chains.shape + draws.shape + row)

    def chosen(self, chain: int, draws: np.ndarray, rest: tuple[Any, ...], *, flat: bool = False) -> np.ndarray:
        """These draws of a chain, ``[draw, …]``; ``rest`` is the index within a draw, with ``flat`` of its numbers in a row.

        Raises FileNotFoundError where they were not written, or are gone.
        """
        shape = (prod(self.shape[2:]),) if flat else self.shape[2:]
        out = np.empty((draws.size, *np.broadcast_to(np.zeros((), self.dtype), shape)[rest].shape), self.dtype)
        for number in np.unique(draws // self.rows) if out.size else ():
            path, here = self._chunk(chain, number), draws // self.rows == number
            if not self._there(path):
                raise FileNotFoundError(
                    f"{path} is gone: it holds draws of {self.name!r}, which are read when they are asked for"
                )
            chunk = np.memmap(path, self.dtype, "r", shape=(self.rows, *shape))
            at = draws[here] % self.rows
            first, count = int(at[0]), len(at)
            rows: Any = slice(first, first + count) if np.array_equal(at, np.arange(first, first + count)) else at
            out[here] = chunk[(slice(None), *rest)][rows]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...].astype(dtype or self.dtype, copy=False)

    def put(self, chain: int, start: int, data: np.ndarray) -> Iterator[Path]:
        """Draws ``[n, *shape]`` of one chain, the first of them its draw number ``start``; gives the files written."""
        stop = start + len(data)
        for number in range(start // self.rows, -(-stop // self.rows) if data.size else 0):
            at = number * self.rows
            first, last = max(start, at), min(stop, at + self.rows)
            part, path = data[first - start : last - start], self._chunk(chain, number)
            if self._there(path):  # of full size from its first moment on: this takes no room
                with told(path, "cannot be written"), open(path, "r+b") as file:
                    file.seek((first - at) * self.stride)
                    file.write(part)
            else:
                whole = part
                if len(part) < self.rows:
                    whole = np.full((self.rows, *self.shape[2:]), self._fill, self.dtype)
                    whole[first - at : last - at] = part
                write_whole(path, whole, sync=False)
            yield path

    def resize(self, draws: int) -> Iterator[Path]:
        """Draws beyond this number are gone, and new ones not written yet; gives the chunks written."""
        keep, self.shape = min(self.shape[1], draws), (self.shape[0], draws, *self.shape[2:])
        if draws > keep:
            yield from self.erase(keep, range(self.shape[0]))  # what a kill in the midst of a cut may have left
        found = json.loads((self.path / "zarr.json").read_bytes())
        write_whole(self.path / "zarr.json", json.dumps(found | {"shape": list(self.shape)}).encode())
        if draws == keep:
            yield from self.erase(keep, range(self.shape[0]))

    def erase(self, keep: int, chains: Container[int]) -> Iterator[Path]:
        """These chains' draws from ``keep`` on are not written any more; gives the chunks that have earlier ones too."""
        for path in self.path.iterdir():
            found = re.fullmatch(r"c\.(\d+)\.(\d+)(\.0)*(\.\d+\.tmp)?", path.name)
            if not found or int(found[1]) not in chains:
                continue
            chain, at = int(found[1]), int(found[2]) * self.rows
            if at >= keep or found[4]:
                path.unlink()
            elif (size := at + self.rows - keep) > 0:
                yield from self.put(chain, keep, np.full((size, *self.shape[2:]), self._fill, self.dtype))

    @property
    def stride(self) -> int:
        """Bytes of a draw of a chain."""
        return self.dtype.itemsize * prod(self.shape[2:])

    @property
    def _fill(self) -> Any:
        return np.nan if self.dtype.kind == "f" else 0

    def _chunk(self, chain: int, number: int) -> Path:
        return self.path / ".".join(["c", str(chain), str(number), *["0"] * (self.ndim - 2)])

    def _there(self, path: Path) -> bool:
        """Whether there is such a chunk. Raises OSError for one that is cut off."""
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return False
        if size != self.rows * self.stride:
            raise OSError(f"{path} is damaged: expected {self.rows * self.stride:,} bytes, got {size:,}")
        return True

    def _split(self, index: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Numbers of the chains, of the draws, and the index within a draw."""
        index = index if isinstance(index, tuple) else (index,)
        if any(i is None for i in index):
            raise IndexError("None is no index of a stored array: read it first, as a NumPy array")
        if at := [n for n, i in enumerate(index) if i is Ellipsis]:
            index = index[: at[0]] + (slice(None),) * (self.ndim - len(index) + 1) + index[at[0] + 1 :]
        index = index + (slice(None),) * (2 - len(index))
        chains, draws = (np.asarray(np.arange(size)[i]) for size, i in zip(self.shape, index[:2], strict=False))
        arrays = [i for i in index[2:] if not isinstance(i, slice)]
        if len(arrays) > 1 and not all(isinstance(i, int | np.integer) for i in arrays):
            raise IndexError("of the indices behind chain and draw one may be an array, among slices: read in two steps")
        return chains, draws, index[2:]
