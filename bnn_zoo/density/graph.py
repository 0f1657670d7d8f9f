"""Tracing a batched function into a plain ATen graph, and compiling that graph where the machine can."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from ..types import ModelError
from .messengers import Progress
from .simplify import simplify

BatchedFn = Callable[..., tuple[Tensor, Tensor]]


def trace(f: BatchedFn, inputs: tuple[Tensor, ...], *, check: Callable[[], Any], compile: bool = False) -> BatchedFn:
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
    graph = simplify(graph, inputs)
    return Compiled(graph) if compile else graph


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


class Compiled:
    """``torch.compile`` of a graph at its first call; the graph itself, with one warning, where no compiler works."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.call: BatchedFn = graph
        self.proven = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if not self.proven:
            self._prove(*inputs)
        return self.call(*inputs)

    def _prove(self, *inputs: Tensor) -> None:
        # On the CPU tanh by the compiler's exp takes 0.4 of the time of its own tanh; float32 error 2e-7 instead of 6e-8.
        options = {"cpp.use_decompose_tanh": True} if inputs[0].device.type == "cpu" else {}
        try:
            known = set(torch._inductor.list_options()) if options else set()
            compiled = torch.compile(self.graph, dynamic=False, options={k: v for k, v in options.items() if k in known})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's own deprecations
                compiled(*inputs)
            self.call = compiled
        except RuntimeError as error:
            warnings.warn(
                f"torch.compile does not work here ({_first_line(error)}); going on with the traced graph, which is "
                "slower but the same: install a C++ compiler, or set compile=False to silence this",
                stacklevel=4,
            )
        self.proven = True


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
