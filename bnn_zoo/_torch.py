"""Every name of torch that is not public, in one place: what it is for, and what happens where a version lacks it.

Each has a test in tests/test_torch_names.py, so that a new version of torch fails there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch._decomp import decomposition_table
from torch._guards import TracingContext, detect_fake_mode, tracing
from torch._subclasses import FakeTensorMode
from torch.distributions import constraints
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_proxy_mode, get_proxy_slot
from torch.fx.experimental.proxy_tensor import make_fx as _make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "BatchNorm",
    "Independent",
    "IntegerInterval",
    "Reads",
    "TorchDispatchMode",
    "autograd_works",
    "compile_alone",
    "compile_graph",
    "look_at_cpu",
    "make_fx",
    "register_module_forward_pre_hook",
    "seed_wholly",
    "written_out",
]

Independent = type(constraints.independent(constraints.real, 0))
"""The class of ``constraints.independent(…)``, whose public name is a function."""

IntegerInterval = type(constraints.integer_interval(0, 1))
"""The class of ``constraints.integer_interval(…)``."""


class Reads(TorchDispatchMode):
    """Lets a function that is being traced read numbers out of tensors, ``int(x.max())`` or ``.item()``, and keeps of what.

    ``nodes`` are the nodes of the graph that were read, each with what ``where()`` said then. A number becomes a constant
    of the graph, so the graph is right only for inputs of which no node depends, or which never change.
    """

    def __init__(self, where: Callable[[], str] = str) -> None:
        super().__init__()
        self.where = where
        self.nodes: list[tuple[fx.Node, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.data_dependent_output not in func.tags:
            return func(*args, **(kwargs or {}))
        mode = get_proxy_mode()
        for tensor in args if mode is not None else ():
            slot = get_proxy_slot(tensor, mode.tracer, None) if isinstance(tensor, Tensor) else None
            if slot is not None:
                self.nodes.append((slot.proxy.node, self.where()))
        with disable_proxy_modes_tracing():
            return func(*args, **(kwargs or {}))


def make_fx(f: Callable[..., Any]) -> Callable[..., fx.GraphModule]:
    """``torch.fx.experimental.proxy_tensor.make_fx`` with less work for each operation.

    For each operation it writes a tensor without data on the node (``meta["val"]``), and makes a mode for it, which looks up
    the whole call stack. Nobody reads those tensors, so they are one and the same here.
    """

    def trace(*inputs: Tensor) -> fx.GraphModule:
        if detect_fake_mode(inputs) is not None:
            return _make_fx(f)(*inputs)
        with tracing(TracingContext(_Blank(allow_fallback_kernels=True))):
            return _make_fx(f)(*inputs)

    return trace


def written_out(graph: fx.GraphModule, inputs: Sequence[Tensor], known: Callable[[fx.Node], bool]) -> fx.GraphModule | None:
    """``graph`` with operations that are not ``known`` written as simpler ones; None where torch does not know how."""
    unknown = {node.target for node in graph.graph.nodes if node.op == "call_function" and not known(node)}
    if not all(op in decomposition_table for op in unknown):
        return None
    table = {op: decomposition_table[op] for op in unknown}
    return _make_fx(graph, decomposition_table=table)(*inputs) if table else graph


class _Blank(FakeTensorMode):
    """Answers each wish for a new tensor without data with the same empty one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.nothing = torch.empty(0, device="meta")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.empty_strided.default or any(a is self.nothing for a in args):
            return self.nothing
        return super().__torch_dispatch__(func, types, args, kwargs or {})


def autograd_works() -> bool:
    """Whether autograd works in this process. To be asked before anything is differentiated.

    Autograd starts its threads when it is used first, and from then on works in no fork of this process, unless that first
    time it saw no device but the CPU. Asked while a function is traced, it sees others that are not there; asked here, by a
    gradient of one number, it sees what is there.
    """
    u = torch.ones((), requires_grad=True)
    try:
        with torch.enable_grad():
            torch.autograd.grad(u * u, u)
    except RuntimeError:
        return False
    return True


SMALL = 4096
"""Numbers in the largest tensor of a graph up to which the compiled code takes less time than what is between it: code for
one number at a time, which the compiler makes in half of the time, and one loop for all parts of an output."""


class _Largest(fx.Interpreter):
    """Runs a graph and notes how many numbers its largest tensor has."""

    numbers = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def compile_graph(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """``graph``, of ATen operations, compiled for inputs of these shapes, dtypes and layouts for ever: no guards.

    The compiler behind ``torch.compile`` without the reading of Python code before it, which has nothing to find in such a
    graph: less than half of the seconds where the compiler's cache is warm. Where a version of torch cannot do without
    (2.6), it is ``torch.compile``. Raises whatever the compiler raises where none works.
    """
    options: dict[str, Any] = {"fallback_random": True}  # on a CPU the compiler's own normal numbers take 20 times as long
    if inputs[0].device.type == "cpu" and "cpp.use_decompose_tanh" in set(torch._inductor.list_options()):
        options["cpp.use_decompose_tanh"] = True  # 0.4 of the time of the compiler's own; float32 error 2e-7, not 6e-8
    if inputs[0].device.type == "cpu":
        sizes = _Largest(graph)
        sizes.run(*inputs)
        options |= {"cpp.simdlen": 1, "force_pointwise_cat": True} if sizes.numbers <= SMALL else {}
    try:
        mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)  # without it there is no look into the cache
        with tracing(TracingContext(mode)):
            fakes: list[Any] = [mode.from_tensor(t, static_shapes=True) for t in inputs]
            for node in graph.graph.nodes:
                node.meta.pop("val", None)  # one tensor for all, see make_fx: the compiler would believe it
            compiled: Callable[..., Any] = torch._inductor.compile(graph, fakes, options=options)
    except Exception:  # an AssertionError too, in 2.6
        filtering = getattr(torch.compiler, "skip_all_guards_unsafe", None)  # since 2.8; without it calls cost more
        options |= {} if filtering is None else {"guard_filter_fn": filtering}
        return torch.compile(graph.forward, dynamic=False, options=options)
    return lambda *tensors: tuple(compiled(*tensors))


def look_at_cpu() -> None:
    """Let the compiler find out which vector instructions the CPU has; without this function it does so when it compiles."""
    try:
        from torch._inductor.cpu_vec_isa import pick_vec_isa
    except ImportError:
        return
    pick_vec_isa()


def compile_alone() -> None:
    """In a fork: the threads of the compiler's pool stayed behind in the parent, and waiting for them is for ever."""
    import sys

    if compiler := sys.modules.get("torch._inductor.config"):
        compiler.compile_threads = 1  # type: ignore[attr-defined]


def seed_wholly(generator: torch.Generator, sequence: np.random.SeedSequence) -> torch.Generator:
    """The generator at the beginning of the stream that the sequence stands for.

    On a CPU it is a Mersenne twister of 624 words, of which ``manual_seed`` sets 32 bits: here all come from the sequence,
    as in ``numpy.random.MT19937``. Its state as bytes: seed (8), words left (4), a flag (4), next word (8), words (8 each).
    """
    generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    if generator.device.type != "cpu":
        return generator
    state = generator.get_state()
    words = state.numpy()[24 : 24 + 8 * 624].view(np.uint64)
    words[:] = np.random.MT19937(sequence).state["state"]["key"]
    generator.set_state(state)
    return generator
