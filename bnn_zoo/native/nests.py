"""Nests of loops over elements: what is pointwise, and what is summed up, as C.

Two nests over the same elements become one where the order of statements allows: what one computes and the other reads then
stays in a register, and is not written to memory where nobody else reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .bodies import Body
from .values import Array, Buffer, Shape, Statement, Value, leaves

REACH, FULL = 40, 12
"""Statements that a nest is moved over to join another, and tasks in one nest, at most."""


@dataclass(frozen=True)
class Fold:
    """``acc`` of the C type ``kind`` begins as ``begin``, ``step`` is taken for each ``x``, in any order if ``simd`` says by
    which sign; the result is ``end``."""

    begin: str
    step: str
    kind: str
    simd: str = ""
    end: str = "acc"


@dataclass(frozen=True, eq=False)
class Task:
    """Each element of ``out`` from ``value``, or, with a fold, one for all elements along the axes that are inner loops."""

    value: Value
    out: Array
    shape: Shape
    order: tuple[int, ...]
    """Axes of the shape that are loops, outermost first: those of another size than one."""
    fold: Fold | None = None

    @property
    def arrays(self) -> list[Array]:
        return [self.out, *leaves(self.value)]

    def strides(self, array: Array) -> tuple[int, ...]:
        """Along the loops."""
        found = array.expanded(self.shape).strides
        return tuple(found[axis] for axis in self.order)


class Nest:
    """Loops over ``sizes``, of which the last ``inner`` are folded over, with what is done in them."""

    def __init__(self, task: Task, inner: int) -> None:
        self.tasks, self.inner = [task], inner
        self.sizes = tuple(task.shape[axis] for axis in task.order)
        self.unread: set[Buffer] = set()
        """Buffers that are read in this nest alone, in the elements that it has just computed: they need no memory."""
        self.reads = {array.buffer for array in leaves(task.value)}
        self.writes = {task.out.buffer}

    @property
    def alone(self) -> bool:
        """Whether it must stay by itself: it writes over what it reads, or folds over one element."""
        return bool(self.reads & self.writes) or (self.inner == 0 and any(t.fold for t in self.tasks))

    # joining
    def take(self, other: Nest) -> bool:
        """Do what ``other``, a later nest of one task, does; whether that can be."""
        if other.alone or self.alone or len(self.tasks) >= FULL:
            return False
        if sorted(self.sizes) != sorted(other.sizes) or not self._touches(other):
            return False
        order = self._alike(other)
        if order is None:
            return False
        if other.inner and self.inner and {*order[-self.inner :]} != {*range(len(order) - other.inner, len(order))}:
            return False
        tasks, sizes, inner = self.tasks, self.sizes, self.inner or other.inner
        if other.inner and not self.inner:  # all tasks here may be done in any order: in that of the other
            back = [order.index(n) for n in range(len(order))]
            tasks = [replace(t, order=tuple(t.order[n] for n in back)) for t in tasks]
            sizes, order = other.sizes, list(range(len(order)))
        (task,) = other.tasks
        task = replace(task, order=tuple(task.order[n] for n in order))
        if not all(_just_computed(tasks, task, array) for array in leaves(task.value)):
            return False
        self.tasks, self.sizes, self.inner = [*tasks, task], sizes, inner
        self.reads |= other.reads - self.writes
        self.writes |= other.writes
        return True

    def _touches(self, other: Nest) -> bool:
        return not self.sizes or bool((self.reads | self.writes) & (other.reads | other.writes))

    def _alike(self, other: Nest) -> list[int] | None:
        """For each loop here the loop of ``other`` that runs over the same axis, as far as what both touch tells."""
        (task,) = other.tasks
        mine = {a.buffer: t.strides(a) for t in self.tasks for a in t.arrays}
        for array in task.arrays:
            own, theirs = mine.get(array.buffer), task.strides(array)
            if own is None or len(set(zip(self.sizes, own, strict=True))) < len(own):
                continue
            pairs = list(zip(other.sizes, theirs, strict=True))
            if sorted(pairs) == sorted(zip(self.sizes, own, strict=True)):
                return [pairs.index(pair) for pair in zip(self.sizes, own, strict=True)]
        return list(range(len(self.sizes))) if self.sizes == other.sizes else None

    # C
    @property
    def text(self) -> str:
        """The loops, neighbours joined where all arrays allow."""
        return Body(self).text


def _just_computed(tasks: list[Task], task: Task, array: Array) -> bool:
    """Whether what ``task`` reads is no result of the ``tasks``, or that of the very element."""
    made = [t for t in tasks if t.out.buffer is array.buffer]
    if not made:
        return True
    (first, *more), own = made, task.strides(array)
    return not more and first.fold is None and first.out.offset == array.offset and first.strides(first.out) == own


def write(value: Value, out: Array) -> Nest:
    """Each element of ``out`` from the value, broadcast."""
    return Nest(Task(value, out, out.shape, tuple(d for d, size in enumerate(out.shape) if size != 1)), 0)


def fold(
    value: Value, out: Array, axes: Sequence[int], begin: str, step: str, kind: str, simd: str = "", end: str = "acc"
) -> Nest:
    """``out``, of the shape of ``value`` with ``axes`` of size 1, as the value folded over them; see ``Fold``."""
    shape = value.shape
    long = [d for d, size in enumerate(shape) if size != 1]
    inner = [d for d in long if d in axes]
    order = (*(d for d in long if d not in axes), *inner)
    return Nest(Task(value, out, tuple(shape), order, Fold(begin, step, kind, simd, end)), len(inner))


def joined(statements: Sequence[Statement | Nest], kept: set[Buffer]) -> list[Statement | Nest]:
    """The statements with nests over the same elements joined; buffers that are ``kept`` are read by others besides."""
    made: list[Statement | Nest] = []
    for statement in statements:
        if not isinstance(statement, Nest):
            made.append(statement)
        elif not _joins(made, statement):
            (task,) = statement.tasks
            made.append(Nest(task, statement.inner))
            made[-1].reads |= statement.reads
    read = kept.union(*(s.reads for s in made))
    for nest in made:
        if isinstance(nest, Nest):
            nest.unread = {t.out.buffer for t in nest.tasks if t.fold is None} - read
            nest.writes -= nest.unread
    return made


def _joins(made: list[Statement | Nest], nest: Nest) -> bool:
    """Whether a statement that was made before, and over which the nest can be moved, has taken it."""
    if nest.alone:
        return False
    for before in made[: -REACH - 1 : -1]:
        again = before.writes & nest.writes and before.reads & before.writes
        if before.reads & nest.writes or again:
            return False
        if isinstance(before, Nest) and before.take(nest):
            return True
        if before.writes & nest.reads:
            return False
    return False
