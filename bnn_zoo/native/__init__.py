"""Small graphs of ATen operations as C.

A compiler of whole tensors needs many seconds to start and tens of microseconds a call, which is most of the time of a model
with a few thousand numbers. Here a graph becomes one C function, compiled in less than a second and called in microseconds.
What is in no table raises Unsupported: such a graph is left to ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, fx
from torch.linalg import LinAlgError

from .._torch import written_out
from .library import compiled
from .loops import Loop, looped
from .lowering import Program, known
from .values import Unsupported

__all__ = ["Loop", "Unsupported", "compile_loop", "compile_small", "suits"]

LARGEST, PRODUCTS = 50_000, 1_000_000
"""Numbers in the largest tensor, and multiplications in the matrix products of a gradient, up to which this is faster than
torch.compile."""
LARGEST_ALONE, A_NUMBER = 200_000, 32
"""The same for one chain by itself, whose numbers stay in nearer caches: numbers in the largest tensor, and multiplications
for each of these, where there are more than ``PRODUCTS``. With more of them products take the time, and a library's are
faster."""


def compile_small(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., tuple[Tensor, ...]] | None:
    """``graph`` for inputs of these shapes and dtypes, contiguous and on the CPU; None where it is too large, has an
    operation that no C is written for, or no C compiler works."""
    program = _program(graph, inputs)
    return None if program is None else compiled(program)


def compile_loop(
    graph: fx.GraphModule, inputs: Sequence[Tensor], chained: int, state: int, gradients: int = 1
) -> Loop | None:
    """``graph``, one step of one chain with so many gradients in it, as one call for many steps of many chains; None as
    ``compile_small``.

    The first ``chained`` inputs and all outputs have an axis of one chain in front; the outputs are what the inputs from
    number ``state`` to there become, if there are any.
    """
    program = _program(graph, inputs, gradients, alone=True)
    try:
        return None if program is None else looped(program, chained, state)
    except Unsupported:
        return None


def suits(graph: fx.GraphModule, inputs: Sequence[Tensor], alone: bool = False) -> bool:
    """Whether ``compile_small`` takes the graph of a gradient, or ``compile_loop`` if it is of one chain ``alone``, where
    there is a C compiler."""
    return _program(graph, inputs, alone=alone) is not None


def _program(graph: fx.GraphModule, inputs: Sequence[Tensor], gradients: int = 1, alone: bool = False) -> Program | None:
    largest = LARGEST_ALONE if alone else LARGEST
    if any(t.device.type != "cpu" or t.numel() > largest for t in inputs):
        return None
    try:
        simple = written_out(graph, inputs, known)
        program = None if simple is None else Program(simple, inputs)
    except (Unsupported, LinAlgError):  # the latter of this point: that is for torch to say
        return None
    if program is None:
        return None
    products = max(PRODUCTS, A_NUMBER * program.largest) if alone else PRODUCTS
    return program if program.largest <= largest and program.products <= products * max(gradients, 1) else None
