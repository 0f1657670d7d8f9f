"""Random streams: from the one seed that a user gives, a stream for each purpose and each chain."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from enum import IntEnum
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._torch import seed_wholly

LARGEST = 2**64 - 1
AHEAD = 4096
"""Numbers of a chain that are drawn at a time, where so many are asked for in small portions."""
LINE = 64
"""Bytes at whose multiples new tensors begin."""
COMMON = 2**32 - 1
"""In the place of a chain: the stream that all chains share."""


class Use(IntEnum):
    """What a stream is for. Numbers are part of a seed's meaning: add new ones at the end."""

    MOVES = 0
    """Transitions of chains."""
    ROWS = 1
    """Which rows are in which minibatch, and their augmentation."""
    GUIDE = 2
    """Noise of a variational fit and draws from it."""
    STARTS = 3
    """Starting points of chains."""


def whole_seed(seed: Any) -> int:
    """``seed`` as a Python integer: any integer type will do. Raises TypeError or ValueError, which say what is taken."""
    wanted = "seed must be an integer from 0 to 2**64 - 1"
    if isinstance(seed, bool | np.bool_) or (isinstance(seed, torch.Tensor) and seed.dtype == torch.bool):
        raise TypeError(f"{wanted}, got {seed!r}")
    try:
        whole = operator.index(seed)
    except TypeError:
        raise TypeError(f"{wanted}, got {seed!r}") from None
    if not 0 <= whole <= LARGEST:
        raise ValueError(f"{wanted}, got {whole}: write seed % 2**64")
    return whole


def stream(seed: Any, use: Use, *at: int) -> int:
    """A seed of 64 bits for torch, hashed from all of them by numpy's ``SeedSequence``.

    So neighbouring seeds, uses and chains have unrelated streams, where sums such as ``seed + 1`` would make one run's
    noise another run's minibatches.
    """
    return int(_sequence(seed, use, *at).generate_state(1, np.uint64)[0])


def _sequence(seed: Any, use: Use, *at: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(whole_seed(seed), spawn_key=(int(use), *at))


def generator(device: torch.device | str, seed: Any, use: Use, *at: int) -> torch.Generator:
    """A new generator on ``device`` at the beginning of that stream.

    All of its state comes from the hash: torch's generator on a CPU would take only 32 bits of a seed, and of 100,000
    streams two would be the same.
    """
    return seed_wholly(torch.Generator(device), _sequence(seed, use, *at))


def counter(seed: Any, use: Use, *at: int) -> np.random.Generator:
    """Numpy's generator at the beginning of that stream: where torch's twister would take longer to seed than to use."""
    return np.random.Generator(np.random.PCG64DXSM(_sequence(seed, use, *at)))


class Streams:
    """Random numbers of chains, a stream for each: those of a chain do not depend on which other chains there are.

    ``normal(*shape)`` and ``uniform(*shape)`` give ``[chain, *shape]``, ``common()`` one uniform number for all chains.
    Small portions are drawn ahead, since a chain's generator takes microseconds to call; ``tree`` holds what was not used.
    """

    def __init__(self, seed: Any, use: Use, chains: Sequence[int], device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.generators = [generator(device, seed, use, chain) for chain in chains]
        self.shared = generator("cpu", seed, use, COMMON)
        self.ahead: dict[str, list[Tensor]] = {}
        """By kind and size of a portion, those that are left, ``[chain, size]`` each, the next one last."""

    def normal(self, *shape: int) -> Tensor:
        return self._portion("normal", shape)

    def moved(self, x: Tensor, drift: Tensor, rate: float, scale: float) -> Tensor:
        """``x + rate · drift + scale · normal(dim)``: chain by chain where that is much, so that a chain's numbers are in
        the cache when they are added."""
        size = x.shape[-1]
        if size <= AHEAD // 2:
            return torch.add(x, drift, alpha=rate).add_(self.normal(size), alpha=scale)
        new, noise = torch.empty_like(x), torch.empty(size, dtype=self.dtype, device=self.device)
        for row, start, slope, own in zip(new, x, drift, self.generators, strict=True):
            torch.add(start, slope, alpha=rate, out=row).add_(fill_normal(noise, own), alpha=scale)
        return new

    def uniform(self, *shape: int) -> Tensor:
        return self._portion("uniform", shape)

    def common(self) -> float:
        return float(torch.rand((), generator=self.shared, dtype=torch.float64))

    def own(self, chain: int, *shape: int) -> Tensor:
        """N(0, 1) ``[*shape]`` from the stream of one chain."""
        out = torch.empty(shape, dtype=self.dtype, device=self.device)
        return out.normal_(generator=self.generators[chain])

    def _portion(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        size = prod(shape)
        if size > AHEAD // 2:
            return self._drawn(kind, 1, size)[0].reshape(len(self.generators), *shape)
        key = f"{kind} {size}"
        left = self.ahead.get(key)
        if not left:
            left = self.ahead[key] = in_portions(self._drawn(kind, AHEAD // size, size))
        portion = left.pop()
        return portion if len(shape) == 1 else portion.reshape(len(self.generators), *shape)

    def _drawn(self, kind: str, count: int, size: int) -> Tensor:
        out = torch.empty(len(self.generators), count, size, dtype=self.dtype, device=self.device)
        for numbers, own in zip(out, self.generators, strict=True):
            if kind == "normal":
                fill_normal(numbers, own)
            else:
                numbers.uniform_(generator=own)
        return out.transpose(0, 1).contiguous()

    @property
    def tree(self) -> dict[str, Any]:
        """Where all streams are, as tensors."""
        states = torch.stack([own.get_state() for own in self.generators])
        ahead = {key: torch.stack(left[::-1]) for key, left in self.ahead.items() if left}
        return {"generators": states, "shared": self.shared.get_state(), "ahead": ahead}

    @tree.setter
    def tree(self, tree: dict[str, Any]) -> None:
        for own, state in zip(self.generators, tree["generators"], strict=True):
            own.set_state(state.cpu().clone())  # of a view torch reads beyond its end
        self.shared.set_state(tree["shared"].cpu().clone())
        self.ahead = {key: in_portions(left.to(self.device)) for key, left in tree["ahead"].items()}


def in_portions(numbers: Tensor) -> list[Tensor]:
    """The parts of ``numbers [portion, …]``, the first one last, each at the beginning of a line of memory as any new tensor
    is: where numbers lie may decide the last bit of a product of matrices."""
    count, size = len(numbers), numbers[0].numel()
    line = LINE // numbers.element_size()
    lines = numbers.new_empty(count, -(-size // line) * line)[:, :size]
    lines.copy_(numbers.reshape(count, size))
    return list(lines.unflatten(1, numbers.shape[1:]).unbind(0))[::-1]


def fill_normal(out: Tensor, generator: torch.Generator) -> Tensor:
    """``out``, contiguous, filled with N(0, 1).

    torch makes float64 on a CPU one number at a time. Where that is much, Box & Muller's ``√(−2 log u) cos t`` and its sine
    are taken here of whole vectors, with u of 63 bits and t of 64: 2.4 times as fast.
    """
    if out.dtype != torch.float64 or out.device.type != "cpu" or out.numel() <= AHEAD:
        return out.normal_(generator=generator)
    flat, half = out.view(-1), (out.numel() + 1) // 2
    bits = torch.empty(2, half, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    radius = bits[0].bitwise_and_(2**63 - 1).double().add_(0.5).mul_(2.0**-63).log_().mul_(-2.0).sqrt_()
    angle = bits[1].double().mul_(math.pi * 2.0**-63)
    torch.mul(angle.cos(), radius, out=flat[:half])
    rest = flat.numel() - half
    torch.mul(angle.sin_()[:rest], radius[:rest], out=flat[half:])
    return out


class OneStream:
    """Random numbers of all chains from one generator, in the dtype and place of ``like [chain, …]``: to try out kernels,
    with thousands of chains as well."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator, self.chains = generator, len(like)
        self.place: dict[str, Any] = {"dtype": like.dtype, "device": like.device}

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.chains, *shape, generator=self.generator, **self.place)

    def moved(self, x: Tensor, drift: Tensor, rate: float, scale: float) -> Tensor:
        return torch.add(x, drift, alpha=rate).add_(self.normal(x.shape[-1]), alpha=scale)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.chains, *shape, generator=self.generator, **self.place)

    def common(self) -> float:
        return float(torch.rand((), generator=self.generator, device=self.generator.device))
