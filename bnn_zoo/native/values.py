"""What a value of a graph is while C is written for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

C_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bool: "uint8_t",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
}
SIZES = {torch.float32: 4, torch.float64: 8, torch.bool: 1, torch.int64: 8, torch.int32: 4}
Shape = tuple[int, ...]


class Unsupported(Exception):
    """An operation, dtype or size for which no C is written; the message names it."""


@dataclass(eq=False)
class Buffer:
    """Memory of ``count`` numbers: an input, a constant, an output, or part of the workspace."""

    dtype: torch.dtype
    count: int
    serial: int
    slot: int | None = None
    """Which of the pointers that are passed in; None: part of the workspace."""

    @property
    def token(self) -> str:
        """Stands for its address until all addresses are known."""
        return f"@{self.serial}@"


@dataclass(frozen=True, eq=False)
class Array:
    """Elements of a buffer, by strides as torch's."""

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def dtype(self) -> torch.dtype:
        return self.buffer.dtype

    @property
    def whole(self) -> bool:
        """Whether it is its buffer from beginning to end, in order."""
        count = math.prod(self.shape)
        return self.offset == 0 and count == self.buffer.count and self.strides == contiguous(self.shape)

    def model(self) -> Tensor:
        """A tensor without data and of the same layout, for torch to say what a view of it is."""
        base = torch.empty(self.buffer.count, dtype=self.dtype, device="meta")
        return base.as_strided(self.shape, self.strides, self.offset)

    def expanded(self, shape: Shape) -> Array:
        """Broadcast to ``shape``."""
        new = len(shape) - len(self.shape)
        old = zip(self.shape, self.strides, shape[new:], strict=True)
        return Array(self.buffer, shape, (0,) * new + tuple(0 if a == 1 else s for a, s, _ in old), self.offset)


@dataclass(frozen=True, eq=False)
class Number:
    """The same number everywhere."""

    value: Any
    dtype: torch.dtype
    shape: Shape = ()


@dataclass(frozen=True, eq=False)
class Expression:
    """A pointwise operation that is written where it is used: ``template`` with ``{0}``, ``{1}``, … for its operands, which
    are of the type ``inner``, or as they are where that is None."""

    template: str
    operands: tuple[Value, ...]
    dtype: torch.dtype
    shape: Shape
    inner: torch.dtype | None
    depth: int = field(init=False)
    """Operations one inside the other."""

    def __post_init__(self) -> None:
        inside = [operand.depth for operand in self.operands if isinstance(operand, Expression)]
        object.__setattr__(self, "depth", 1 + max(inside, default=0))

    def seen(self, view: Callable[[Tensor], Tensor]) -> Expression | None:
        """The view of it as the operation on views; None where some operand has none."""
        operands: list[Value] = []
        for operand in self.operands:
            if isinstance(operand, Expression):
                inside = replace(operand, shape=self.shape).seen(view)
                if inside is None:
                    return None
                operands.append(inside)
            elif isinstance(operand, Array):
                try:
                    seen = view(operand.expanded(self.shape).model())
                except RuntimeError:  # strides that no view can have
                    return None
                operands.append(Array(operand.buffer, tuple(seen.shape), tuple(seen.stride()), int(seen.storage_offset())))
            else:
                operands.append(operand)
        return replace(self, operands=tuple(operands), shape=tuple(view(torch.empty(self.shape, device="meta")).shape))


Value = Array | Number | Expression


@dataclass(eq=False)
class Statement:
    """A block of C, with the buffers that it reads and writes."""

    text: str
    reads: set[Buffer] = field(default_factory=set)
    writes: set[Buffer] = field(default_factory=set)


def contiguous(shape: Sequence[int]) -> Shape:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def literal(value: Any, dtype: torch.dtype) -> str:
    """A number in C, exactly."""
    if not dtype.is_floating_point:
        return f"(({C_TYPES[dtype]}){int(value)}LL)"
    number = float(torch.tensor(value, dtype=dtype))
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    return f"({number.hex()}{'f' if dtype == torch.float32 else ''})"


def cast(text: str, old: torch.dtype, new: torch.dtype) -> str:
    if old == new:
        return text
    return f"({text} != 0)" if new == torch.bool else f"(({C_TYPES[new]}){text})"


class Block:
    """Nested loops over ``shape``: outer ones over all axes but ``inner``, and one block of pointers."""

    def __init__(self, shape: Shape, arrays: Sequence[Array], inner: Sequence[int] = ()) -> None:
        self.reads = {a.buffer for a in arrays}
        self.pointers: dict[Buffer, str] = {}
        strides = {id(a): a.expanded(shape).strides for a in arrays}
        self.outer = self._joined([d for d in range(len(shape)) if d not in inner], shape, strides)
        self.inner = self._joined(list(inner), shape, strides)
        self.sizes = [size for size, _ in (*self.outer, *self.inner)]
        axes = [axis for _, axis in (*self.outer, *self.inner)]
        self.strides = {key: [found[d] for d in axes] for key, found in strides.items()}
        self.offsets = {id(a): a.offset for a in arrays}

    @staticmethod
    def _joined(axes: list[int], shape: Shape, strides: dict[int, Shape]) -> list[tuple[int, int]]:
        """Axes of size one left out and neighbours joined where all arrays allow: ``(size, axis of the strides)``."""
        found: list[tuple[int, int]] = []
        for d in axes:
            if shape[d] == 1:
                continue
            if found and all(s[found[-1][1]] == s[d] * shape[d] for s in strides.values()):
                found[-1] = (found[-1][0] * shape[d], d)
            else:
                found.append((shape[d], d))
        return found

    def pointer(self, buffer: Buffer) -> str:
        return self.pointers.setdefault(buffer, f"p{len(self.pointers)}")

    def at(self, array: Array) -> str:
        terms = [f"i{n} * {s}" if s != 1 else f"i{n}" for n, s in enumerate(self.strides[id(array)]) if s]
        if array.offset or not terms:
            terms.append(str(array.offset))
        return f"{self.pointer(array.buffer)}[{' + '.join(terms)}]"

    def loop(self, n: int) -> str:
        return f"for (int64_t i{n} = 0; i{n} < {self.sizes[n]}; ++i{n})"

    def statement(self, body: str, writes: Buffer) -> Statement:
        """``body`` with the pointers that it uses; the block reads what it was made with, but for what it writes."""
        declared = [
            f"{'' if buffer is writes else 'const '}{C_TYPES[buffer.dtype]} *restrict {name} = {buffer.token};"
            for buffer, name in self.pointers.items()
        ]
        return Statement("{ " + "\n".join([*declared, body]) + " }", self.reads - {writes}, {writes})


def leaves(value: Value) -> list[Array]:
    """The arrays that an element of the value is computed from."""
    if isinstance(value, Expression):
        return [array for operand in value.operands for array in leaves(operand)]
    return [value] if isinstance(value, Array) else []
