"""Traced graphs compiled, small ones to C and others by ``torch.compile``, and checked against what they came from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from operator import attrgetter
from threading import Thread
from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize

from .._interrupt import gently
from .._scope import random_state_kept
from .._torch import compile_graph, look_at_cpu, make_fx
from ..native import Loop, compile_loop, compile_small
from .agreement import same_outputs
from .noise import same_noise

KIND = attrgetter("shape", "dtype", "device")


@cache
def prepare() -> Thread:
    """Let torch find out, while the model is still being traced, which vector instructions the CPU has.

    With an empty compiler cache it builds four small programs for that, half of the time that a small network's graph takes.
    """
    thread = Thread(target=_quietly, args=(look_at_cpu,), daemon=True)
    thread.start()
    return thread


def _quietly(f: Callable[[], Any]) -> None:
    with suppress(OSError, RuntimeError):  # where no compiler is, compiling will say so
        f()


class Compiled:
    """A graph compiled; the graph itself, with one warning, where no compiler works or its result is another
    (for the former none unless it was ``asked`` for).

    Compiling takes seconds: the first ``patience`` calls run the graph as it is, so that a few calls never wait for it.
    Setting ``patience`` anew counts anew: which calls run compiled code does not depend on what came before.
    Compiled code looks at nothing but the addresses of its inputs: it must be called with tensors of the shapes, dtypes
    and device of its first call.
    """

    def __init__(self, graph: Any, patience: int = 0, asked: bool = True) -> None:
        self.graph, self.patience, self.asked = graph, patience, asked
        self.call: Callable[..., tuple[Tensor, ...]] = graph
        self.proven = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.patience >= 0:
            self.patience -= 1
            if self.patience >= 0:
                return self.graph(*inputs)
        if not self.proven:
            self._prove(*inputs)
        return self.call(*(t.contiguous() for t in inputs))

    @gently()
    def _prove(self, *inputs: Tensor) -> None:
        device = inputs[0].device
        try:
            with warnings.catch_warnings(), random_state_kept(device):
                warnings.simplefilter("ignore")  # the compiler's own deprecations
                # inputs that are the same tensor in the first call would be taken for one in all: it gets copies
                apart = tuple(t.clone(memory_format=torch.contiguous_format) for t in inputs)
                compiled = self._agreeing(compile_small, apart) or self._agreeing(compile_graph, apart)
            if compiled:
                self.call = compiled
            else:
                warnings.warn(
                    "what the compiler made of the log joint gives other values than the graph that it was made from; "
                    "going on with that graph, which is slower: set compile=False to silence this",
                    stacklevel=4,
                )
        except Exception as error:  # whatever a compiler stops with, an AssertionError of its own too: the graph is there
            if self.asked:
                warnings.warn(
                    f"torch.compile does not work here ({_first_line(error)}); going on with the traced graph, which is "
                    "slower but the same: install a C++ compiler, or set compile=False to silence this",
                    stacklevel=4,
                )
        finally:
            if prepare.cache_info().currsize:
                prepare().join()  # before anyone forks
        self.proven = True

    def _agreeing(self, compiler: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Callable[..., Any] | None:
        """What a compiler makes of the graph; None where it declines, or gives other values."""
        made = compiler(self.graph, inputs)
        if made is None:
            return None
        made(*inputs)  # some versions of torch compile now
        with same_noise(inputs[0].device):
            return made if same_outputs(made(*inputs), self.graph, inputs) else None


class Inlined:
    """A step of a sampler and the log joint that it calls, as one compiled graph per kind of its inputs."""

    def __init__(self, log_joint: Any, f: Callable[..., tuple[Tensor, ...]]) -> None:
        self.log_joint, self.f = log_joint, f
        self.graphs: dict[Any, tuple[Compiled, int] | None] = {}
        self.loops: dict[Any, tuple[Loop, int] | None] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        key = _kinds(inputs)
        if key not in self.graphs:
            self.log_joint.look_ahead()
            self.graphs[key] = self._build(inputs)
        made = self.graphs[key]
        if made is None:
            return self.f(self.log_joint, *inputs)
        graph, evaluations = made
        try:
            outputs = graph(*inputs, *self.log_joint.tensors)
        except torch.linalg.LinAlgError:  # of one chain's matrix: the log joint itself knows how to go on
            return self.f(self.log_joint, *inputs)
        self.log_joint.evaluations += evaluations
        return outputs

    def bind(self, *first: Tensor) -> Callable[..., tuple[Tensor, ...]]:
        """``self(*first, *rest)`` as a function of the rest, for many calls of the same kinds of tensors: the kinds are
        looked at in the first call alone, as looking takes as long as a small model's gradient."""
        direct: Callable[..., tuple[Tensor, ...]] | None = None

        def call(*rest: Tensor) -> tuple[Tensor, ...]:
            nonlocal direct
            if direct is None:
                outputs = self(*first, *rest)
                direct = self._directly(first, rest)
                return outputs
            return direct(*rest)

        return call

    def _directly(self, first: tuple[Tensor, ...], rest: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        made = self.graphs[_kinds((*first, *rest))]
        if made is None or not made[0].proven:
            return partial(self, *first)
        (graph, evaluations), log_joint = made, self.log_joint
        fixed, data = (tuple(t.contiguous() for t in part) for part in (first, log_joint.tensors))

        def call(*rest: Tensor) -> tuple[Tensor, ...]:
            try:
                outputs = graph.call(*fixed, *(t.contiguous() for t in rest), *data)
            except torch.linalg.LinAlgError:
                return self.f(log_joint, *first, *rest)
            log_joint.evaluations += evaluations
            return outputs

        return call

    def repeat(self, held: tuple[Tensor, ...], state: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...] | None:
        """``count`` times ``state = self(*held, *state)`` in one call, where a step of one chain becomes C; else None.

        All tensors, ``[chain, …]``, are of one chain each, and what a chain becomes depends on no other. Without a state it
        is ``self(*held)``.
        """
        every = (*held, *state)
        key = _kinds(every), len(held)
        if key not in self.loops:
            self.loops[key] = self._loop(every, len(held))
        made = self.loops[key]
        if made is None:
            return None
        loop, evaluations = made
        outputs = loop(count, *(t.contiguous() for t in (*every, *self.log_joint.tensors)))
        self.log_joint.evaluations += evaluations * every[0].shape[0] * count
        return outputs

    @property
    def looped(self) -> bool:
        """Whether some such calls are C."""
        return any(made is not None for made in self.loops.values())

    @gently()
    def _loop(self, every: tuple[Tensor, ...], state: int) -> tuple[Loop, int] | None:
        """The loop, and its gradients for one step of one chain."""
        chains = {len(t) if t.dim() else 0 for t in every}
        if len(chains) > 1 or any(t.device.type != "cpu" for t in every) or not self.log_joint.loops(*chains):
            return None
        one = tuple(t[:1].contiguous() for t in every)
        built = self._build(one)
        if built is None:
            return None
        (made, evaluations), inputs = built, (*one, *(t.contiguous() for t in self.log_joint.tensors))
        try:
            loop = compile_loop(made.graph, inputs, len(every), state, evaluations)
            agrees = loop is not None and same_outputs(loop(1, *inputs), made.graph, inputs)
        except Exception:  # whatever a compiler stops with: there are other ways
            return None
        return (loop, evaluations) if agrees and loop else None

    @gently()
    def _build(self, inputs: tuple[Tensor, ...]) -> tuple[Compiled, int] | None:
        """The graph and its gradients a call; None where the log joint has no graph to go into."""
        evaluations, traceable = 0, True
        data = self.log_joint.tensors

        def whole(*flat: Tensor) -> tuple[Tensor, ...]:
            def log_joint(position: Tensor) -> tuple[Tensor, Tensor]:
                nonlocal evaluations, traceable
                evaluations += position.shape[0]
                inner = self.log_joint.graph(position)
                traceable = traceable and isinstance(inner, torch.fx.GraphModule)
                return inner(position, *flat[len(inputs) :])

            return self.f(log_joint, *flat[: len(inputs)])

        with torch.no_grad():
            whole(*inputs, *data)  # builds the inner graph outside the trace
            if not traceable or any(t.dtype != self.log_joint.dtype for t in inputs if t.is_floating_point()):
                return None
            evaluations = 0
            apart = [t.clone() for t in inputs]  # the same tensor given twice would be traced as one input for ever
            graph = make_fx(functionalize(whole))(*apart, *data)
        return Compiled(graph, asked=self.log_joint.asked), evaluations


def _kinds(inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return tuple(map(KIND, inputs))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
