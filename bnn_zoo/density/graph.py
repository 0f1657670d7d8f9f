"""Tracing a batched function into a plain ATen graph, and compiling that graph where the machine can."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Thread
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from ..types import ModelError
from .messengers import Progress
from .simplify import simplify

BatchedFn = Callable[..., tuple[Tensor, Tensor]]


def trace(f: BatchedFn, inputs: tuple[Tensor, ...], *, check: Callable[[], Any]) -> fx.GraphModule:
    """``f`` as a graph for inputs of these shapes. Raises ModelError naming the last site reached where it cannot be.

    ``check()`` runs the model under ``vmap``, which refuses randomness and writing in place where plain tracing is silent.
    """
    with Progress() as progress:
        try:
            check()
            graph = make_fx(functionalize(f))(*inputs)  # functionalize: no writing in place, so constants stay constant
        except torch.linalg.LinAlgError:  # of this point, not of the model
            raise
        except RuntimeError as error:
            raise ModelError(_explain(str(error), progress.last)) from error
    return simplify(graph, inputs)


def _explain(error: str, last: str) -> str:
    if "data-dependent" in error or ".item()" in error:
        return (
            f"after {last} the model's control flow depends on the value of a site (an if, a loop, .item() or float()): "
            "write the choice as torch.where, or sum over the branches"
        )
    if "random" in error:
        return (
            f"after {last} the model draws random numbers outside pyro.sample (dropout in training mode?): the log joint "
            "would change from call to call; call net.eval(), or make the noise a site"
        )
    if "inplace" in error or "doesn't match the broadcast shape" in error:
        return (
            f"after {last} something writes into a tensor in place (z[..., 0] = …, +=), which cannot be batched over "
            "chains: build that tensor with torch.stack, torch.cat or torch.where"
        )
    what = error.split("Trace Shapes")[0].strip()
    return f"the model cannot be batched over chains at or after {last}: {what}"


@cache
def prepare() -> Thread | None:
    """Let torch find out, while the model is still being traced, which vector instructions the CPU has.

    With an empty compiler cache it builds four small programs for that, half of the time that a small network's graph takes.
    """
    try:
        from torch._inductor.cpu_vec_isa import pick_vec_isa  # not public; without it the time is spent later
    except ImportError:
        return None
    thread = Thread(target=_quietly, args=(pick_vec_isa,), daemon=True)
    thread.start()
    return thread


def _quietly(f: Callable[[], Any]) -> None:
    with suppress(Exception):  # where no compiler is, compiling will say so
        f()


class Compiled:
    """``torch.compile`` of a graph; the graph itself, with one warning, where no compiler works.

    Compiling takes seconds: the first ``patience`` calls run the graph as it is, so that a few calls never wait for it.
    """

    def __init__(self, graph: Any, patience: int = 0) -> None:
        self.graph, self.patience = graph, patience
        self.call: Callable[..., tuple[Tensor, ...]] = graph
        self.proven = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.proven:
            self.patience -= 1
            if self.patience < 0:
                self._prove(*inputs)
        return self.call(*(t.contiguous() for t in inputs))

    def _prove(self, *inputs: Tensor) -> None:
        # On the CPU tanh by the compiler's exp takes 0.4 of the time of its own tanh; float32 error 2e-7 instead of 6e-8.
        options: dict[str, Any] = {"cpp.use_decompose_tanh": True} if inputs[0].device.type == "cpu" else {}
        try:
            known = set(torch._inductor.list_options()) if options else set()
            options = {k: v for k, v in options.items() if k in known}
            # Called with one shape, dtype and layout for ever, so nothing to guard; but inputs that are the same tensor in
            # the first call would be taken for one in all: it gets copies.
            options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
            compiled = torch.compile(self.graph.forward, dynamic=False, options=options)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's own deprecations
                compiled(*(t.clone(memory_format=torch.contiguous_format) for t in inputs))
            self.call = compiled
        except RuntimeError as error:
            warnings.warn(
                f"torch.compile does not work here ({_first_line(error)}); going on with the traced graph, which is "
                "slower but the same: install a C++ compiler, or set compile=False to silence this",
                stacklevel=4,
            )
        finally:
            if inputs[0].device.type == "cpu" and (probing := prepare()):
                probing.join()  # before anyone forks
        self.proven = True


class Inlined:
    """A step of a sampler and the log joint that it calls, as one compiled graph per shape of its inputs."""

    def __init__(self, log_joint: Any, f: Callable[..., tuple[Tensor, ...]]) -> None:
        self.log_joint, self.f = log_joint, f
        self.graphs: dict[Any, tuple[Compiled, int]] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        key = tuple(t.shape for t in inputs)
        if key not in self.graphs:
            self.graphs[key] = self._build(inputs)
        graph, evaluations = self.graphs[key]
        try:
            outputs = graph(*inputs, *self.log_joint.tensors)
        except torch.linalg.LinAlgError:  # of one chain's matrix: the log joint itself knows how to go on
            return self.f(self.log_joint, *inputs)
        self.log_joint.evaluations += evaluations
        return outputs

    def _build(self, inputs: tuple[Tensor, ...]) -> tuple[Compiled, int]:
        inner, evaluations = self.log_joint.graph, 0
        data = self.log_joint.tensors

        def whole(*flat: Tensor) -> tuple[Tensor, ...]:
            def log_joint(position: Tensor) -> tuple[Tensor, Tensor]:
                nonlocal evaluations
                evaluations += position.shape[0]
                return inner(position)(position, *flat[len(inputs) :])

            return self.f(log_joint, *flat[: len(inputs)])

        with torch.no_grad():
            whole(*inputs, *data)  # builds the inner graph outside the trace
            evaluations = 0
            apart = [t.clone() for t in inputs]  # the same tensor given twice would be traced as one input for ever
            graph = make_fx(functionalize(whole))(*apart, *data)
        return Compiled(graph), evaluations


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
