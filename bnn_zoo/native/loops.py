"""A program for one chain as one call for many steps of many chains, each output fed back to the input that it renews.

Chains follow each other, so that what a chain computes stays in the nearest cache, and depends on no other chain.
"""

from __future__ import annotations

import ctypes
import math
import struct
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .library import LINE, load, optimisation, source
from .lowering import Program
from .values import SIZES, Array, Unsupported

ADDRESS = Tensor.data_ptr
LOOP = """
int loop(void *const *p, char *w, int64_t chains, int64_t steps) {{
  static const int64_t stride[] = {{{strides}}}, spare[] = {{{spares}}};
  void *q[{slots}];
  for (int64_t c = 0; c < chains; ++c) {{
    for (int s = 0; s < {slots}; ++s) q[s] = (char *)p[s] + c * stride[s];
    for (int64_t n = 1; n <= steps; ++n) {{
      for (int o = 0; o < {outputs}; ++o) {{  /* the last step writes where the caller looks, others there and beside */
        const int s = {slots} - {outputs} + o;
        q[s] = (steps - n) % 2 ? w + spare[o] : (char *)p[s] + c * stride[s];
      }}
      if (run(q, w)) return 1;
      for (int o = 0; o < {fed}; ++o) q[{state} + o] = q[{slots} - {outputs} + o];
    }}
  }}
  return 0;
}}
"""


class Loop:
    """``count`` steps: ``(count, *held, *state, *shared) -> state``, all contiguous and of the shapes that it was made for.

    Of the program's inputs the first ``chained``, and all outputs, have an axis of one chain in front, which here is that of
    all; the others are shared. The inputs from number ``state`` to there become its outputs at each step; where there are
    none, there is one step.
    """

    def __init__(self, program: Program, run: Any, size: int) -> None:
        self.run, self.size, self.constants = run, size, program.constants
        self.shapes = [(a.shape[1:], a.dtype) for a in program.outputs if a is not None]
        self.fixed = tuple(t.data_ptr() for t in self.constants)
        self.pointers = struct.Struct(f"{program.slots}P")
        self.like: dict[int, list[Tensor]] = {}
        self.own = threading.local()

    def __call__(self, count: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        chains = inputs[0].shape[0]
        outputs = tuple(map(torch.empty_like, self.like.get(chains) or self._outputs(chains)))
        try:
            pointers, _, workspace = self.own.memory
        except AttributeError:
            pointers, _, workspace = self.own.memory = self._memory()
        self.pointers.pack_into(pointers, 0, *map(ADDRESS, inputs), *self.fixed, *map(ADDRESS, outputs))
        if self.run(pointers, workspace, chains, count):
            raise IndexError("an index of the model is out of the range of what it looks up in")
        return outputs

    def _outputs(self, chains: int) -> list[Tensor]:
        """What the outputs for so many chains look like: a tensor like another is made in half the time."""
        made = [torch.empty((chains, *shape), dtype=dtype, device="cpu") for shape, dtype in self.shapes]
        self.like[chains] = made
        return made

    def _memory(self) -> tuple[Any, Tensor, int]:
        """Of one thread: where the addresses go, the workspace, and where in it a line of the cache begins."""
        held = torch.empty(self.size + LINE, dtype=torch.uint8, device="cpu")
        return ctypes.create_string_buffer(self.pointers.size), held, -(-held.data_ptr() // LINE) * LINE


def looped(program: Program, chained: int, state: int) -> Loop | None:
    """The program as a loop; None where no compiler works. Raises Unsupported for outputs that are not the next state, or
    not of one chain."""
    inputs, outputs = program.inputs, [a for a in program.outputs if a is not None]
    fed = inputs[state:chained]
    if (fed and [_kind(a) for a in fed] != [_kind(a) for a in outputs]) or any(a.shape[:1] != (1,) for a in outputs):
        raise Unsupported("outputs that are not the next state")
    text, size = source(program)
    strides = [_bytes(a) if n < chained else 0 for n, a in enumerate(inputs)] + [0] * len(program.constants)
    spares = []
    for array in outputs:
        strides.append(_bytes(array))
        spares.append(size)
        size += -(-max(_bytes(array), 1) // LINE) * LINE
    text += LOOP.format(
        strides=_listed(strides),
        spares=_listed(spares),
        slots=program.slots,
        outputs=len(outputs),
        state=state,
        fed=len(fed),
    )
    run = load(text, optimisation(program), "loop")
    return None if run is None else Loop(program, run, size)


def _kind(array: Array) -> tuple[Any, ...]:
    return array.shape, array.dtype


def _bytes(array: Array) -> int:
    return math.prod(array.shape) * SIZES[array.dtype]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
