"""The C of a nest of loops: names for what is computed of one element, and loops that vector instructions can take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from .values import C_TYPES, Array, Buffer, Number, Value, cast, literal

if TYPE_CHECKING:
    from .nests import Fold, Nest

SHORT = 16
"""Terms of a sum up to which vector instructions go over the results and not over the terms."""
FAITHFUL = 1024
"""Terms up to which a sum of float32 is made in float32, by vector instructions in some eight parts."""
ACROSS = 4096
"""Sums that are made side by side, at most."""
LONGEST = 60
"""Lines of which there are two copies, for a loop and for what is left behind it, at most."""
ACC = re.compile(r"\bacc\d+")
LETTERS = re.compile(r"\b(acc|x)\b")


class Body:
    """The C of a nest. A name stands for each operation on one element; what reads alike is computed once."""

    def __init__(self, nest: Nest) -> None:
        self.nest, self.pointers = nest, dict[Buffer, str]()
        self.lines, self.names = list[str](), dict[str, str]()
        self.task = nest.tasks[0]
        outer = len(nest.sizes) - nest.inner
        self.loops = [*self._joined(range(outer)), *self._joined(range(outer, len(nest.sizes)))]
        self.outer = len(self._joined(range(outer)))
        self.counts = [math.prod(nest.sizes[n] for n in loop) for loop in self.loops]

    def _joined(self, loops: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = []
        each = [t.strides(a) for t in self.nest.tasks for a in t.arrays]
        for n in loops:
            if found and all(s[found[-1][-1]] == s[n] * self.nest.sizes[n] for s in each):
                found[-1].append(n)
            else:
                found.append([n])
        return found

    def pointer(self, buffer: Buffer) -> str:
        return self.pointers.setdefault(buffer, f"p{len(self.pointers)}")

    def at(self, array: Array) -> str:
        strides = self.task.strides(array)
        each = [(f"i{n}", strides[loop[-1]]) for n, loop in enumerate(self.loops)]
        terms = [f"{i} * {s}" if s != 1 else i for i, s in each if s]
        if array.offset or not terms:
            terms.append(str(array.offset))
        return f"{array.buffer.token}[{' + '.join(terms)}]"

    def element(self, value: Value, dtype: torch.dtype | None) -> str:
        """The name of the element of ``value``, as ``dtype`` if given."""
        if isinstance(value, Number):
            return literal(value.value, value.dtype if dtype is None else dtype)
        if isinstance(value, Array):
            place = self.at(value)
            name = self.names.get(place) or self.named(place, value.dtype, self._load(value, place))
        else:
            names = [self.element(operand, value.inner) for operand in value.operands]
            name = self.named(f"({value.template.format(*names)})", value.dtype)
        return name if dtype is None or dtype == value.dtype else self.named(cast(name, value.dtype, dtype), dtype)

    def _load(self, array: Array, place: str) -> str:
        return place.replace(array.buffer.token, self.pointer(array.buffer), 1)

    def named(self, key: str, dtype: torch.dtype, text: str | None = None) -> str:
        kind = f"{C_TYPES[dtype]} {key}"
        if key not in self.names and kind not in self.names:
            name = f"e{len(self.lines)}"
            self.lines.append(f"const {C_TYPES[dtype]} {name} = {text or key};")
            self.names[key if text else kind] = name
        return self.names.get(key) or self.names[kind]

    def done(self) -> Iterator[tuple[str, str]]:
        """Write each task's lines; what comes before and behind the inner loops for each fold."""
        for n, task in enumerate(self.nest.tasks):
            self.task = task
            if task.fold is None:
                name, place = self.element(task.value, task.out.dtype), self.at(task.out)
                if task.out.buffer not in self.nest.unread:
                    self.lines.append(f"{self._load(task.out, place)} = {name};")
                self.names[place] = name
                continue
            fold, name = task.fold, self.element(task.value, None)
            step, end = (LETTERS.sub(rf"\g<0>{n}", part) for part in (fold.step, fold.end))
            self.lines += [f"const {C_TYPES[task.value.dtype]} x{n} = {name};", step]
            yield f"{self._kind(fold)} acc{n} = {fold.begin};", f"{self._load(task.out, self.at(task.out))} = {end};"

    @property
    def short(self) -> bool:
        """Whether several results are made at once, each by itself."""
        return len(self.loops) == self.outer + 1 and self.counts[-1] <= SHORT and self.outer > 0

    def _kind(self, fold: Fold) -> str:
        """A sum of few float32 is made in float32."""
        few = self.short or math.prod(self.counts[self.outer :]) <= FAITHFUL
        return "float" if fold.kind == "double" and self.single and few else fold.kind

    @property
    def single(self) -> bool:
        return all(a.dtype != torch.float64 for t in self.nest.tasks for a in t.arrays)

    @property
    def across(self) -> bool:
        """Whether vector instructions go over the last of the outer loops, along which memory lies, not over the inner."""
        if self.short or self.outer in (0, len(self.loops)) or not 4 <= self.counts[self.outer - 1] <= ACROSS:
            return False
        last, inmost = self.loops[self.outer - 1][-1], self.loops[-1][-1]
        found = [task.strides(array) for task in self.nest.tasks for array in task.arrays]
        steps = [(strides[last], strides[inmost]) for strides in found]
        return all(out in (0, 1) for out, _ in steps) and any(inner not in (0, 1) for _, inner in steps)

    @property
    def text(self) -> str:
        across = self.across
        folds = list(self.done())
        loops = [(f"i{n}", count) for n, count in enumerate(self.counts)]
        outer, inner = [_loop(*loop) for loop in loops[: self.outer]], [_loop(*loop) for loop in loops[self.outer :]]
        begins, ends = [begin for begin, _ in folds], [end for _, end in folds]
        if not inner:
            straight = outer and not self.nest.reads & self.nest.writes
            body = [*outer[:-1], *self._vector(loops[-1], self.lines)] if straight else [*outer, "{", *self.lines, "}"]
        elif self.short:
            unrolled = [*begins, f"\n#pragma GCC unroll {SHORT}\n{inner[0]}", "{", *self.lines, "}", *ends]
            body = [*outer[:-1], *self._vector(loops[self.outer - 1], unrolled)]
        elif across:
            count, each = loops[self.outer - 1][1], _loop(*loops[self.outer - 1])
            rows = [*(re.sub(r"(acc\d+) =", rf"\1[{count}]; {each} \1[i{self.outer - 1}] =", b) for b in begins), *inner]
            named = [ACC.sub(rf"\g<0>[i{self.outer - 1}]", line) for line in self.lines]
            rows += [*self._vector(loops[self.outer - 1], named), each, "{"]
            ends = [ACC.sub(rf"\g<0>[i{self.outer - 1}]", end) for end in ends]
            body = [*outer[:-1], "{", *rows, *ends, "}", "}"]
        else:
            signs = {n: t.fold.simd for n, t in enumerate(self.nest.tasks) if t.fold}
            clauses = " ".join(f"reduction({sign}:acc{n})" for n, sign in signs.items())
            rows = (
                self._vector(loops[-1], self.lines, clauses) if all(signs.values()) else [inner[-1], "{", *self.lines, "}"]
            )
            body = [*outer, "{", *begins, *inner[:-1], *rows, *ends, "}"]
        declared = [
            f"{'' if buffer in self.nest.writes else 'const '}{C_TYPES[buffer.dtype]} *restrict {name} = {buffer.token};"
            for buffer, name in self.pointers.items()
        ]
        return "{ " + "\n".join([*declared, *body]) + " }"

    def _vector(self, loop: tuple[str, int], lines: list[str], clauses: str = "") -> list[str]:
        """A loop by vector instructions: first as many as fill the widest there are, then, in another, what is left."""
        (i, count), lanes = loop, 16 if self.single else 8
        main = count // lanes * lanes
        inside = ["{", *lines, "}"]
        if not main or count - main < lanes // 4 or len(lines) > LONGEST:
            return [f"\n#pragma omp simd {clauses}\n{_loop(i, count)}", *inside]
        rest = f"\n#pragma omp simd simdlen({lanes // 4}) {clauses}\n{_loop(i, count, main)}"
        return ["{", f"\n#pragma omp simd {clauses}\n{_loop(i, main)}", *inside, rest, *inside, "}"]


def _loop(i: str, count: int, begin: int = 0) -> str:
    return f"for (int64_t {i} = {begin}; {i} < {count}; ++{i})"
