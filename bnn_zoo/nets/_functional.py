"""A module as a pure function of its parameters: what that needs, and how to call it without changing anything.

``torch.func.functional_call`` swaps tensors in and out by name. It does not put back a module that has two names, nor
what a forward pass leaves behind on its modules: a buffer assigned anew, a stored activation, the recomputed ``weight``
of a weight norm, an LSTM's list of its weights. ``kept`` does. Each slot, the place of one tensor on one module, gets its
value once; a parameter in several slots (tied weights) gets the same value in each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from .._scope import seeded
from .._torch import BatchNorm
from ..types import DataError, ModelError

PROBED = 8
"""Rows of x on which a net is looked at before it is used."""
PICK = """
    class Output(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x){pick}"""


def check_net(net: nn.Module) -> None:
    """Raise ModelError for a module that is no function of its parameters, or whose parameters cannot have a prior."""
    for name, module in net.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"layer {name!r} is a TorchScript module, whose weights are fixed: pass the module it was made of"
            )
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise ModelError(f"layer {name!r} is {type(module).__name__}: pass what it wraps, net.module")
        if "_orig_mod" in dict(module.named_children()) or module._compiled_call_impl is not None:
            raise ModelError(
                f"layer {name!r} goes through torch.compile: pass the module without it; many backends have compile=True"
            )
        if isinstance(module, BatchNorm):
            check_batchnorm(name, module)
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(
                f"parameter {name!r} has no shape yet: run the net once, net(x[:1]), so that lazy layers find it"
            )
    random = {name: p for name, p in net.named_parameters() if p.requires_grad}
    for name, p in random.items():
        if not p.is_floating_point():
            raise ModelError(
                f"parameter {name!r} is {p.dtype}, and priors are laws of real numbers: hold its parts as two real "
                "parameters and join them in forward by torch.complex(real, imaginary)"
            )
    if not random:
        raise ModelError("the net has no parameter with requires_grad=True: there is nothing to infer")
    _check_overlap(random)


def check_batchnorm(name: str, module: nn.Module) -> None:
    """Only with fixed statistics does a BatchNorm treat each row on its own."""
    if module.training or module.running_mean is None:
        raise ModelError(
            f"layer {name!r} is {type(module).__name__} and takes its statistics from the rows at hand: with it a row's "
            "output depends on the other rows, and the posterior is not defined; put another normalisation in its place, "
            "bnn_zoo.nets.replace_batchnorm(net), or fix the statistics of a trained net: net.eval()"
        )


def _check_overlap(parameters: Mapping[str, nn.Parameter]) -> None:
    """Two parameters over the same memory look independent and are not."""
    spans = []
    for name, p in parameters.items():
        if p.numel() and p.device.type != "meta":
            length = 1 + sum((n - 1) * s for n, s in zip(p.shape, p.stride(), strict=True))
            spans.append((p.data_ptr(), p.data_ptr() + length * p.element_size(), name))
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            raise ModelError(
                f"parameters {first!r} and {second!r} share memory, and would be inferred as if they did not: assign one "
                "Parameter to both layers (b.weight = a.weight), or give one of them a copy (.clone())"
            )


def slots(net: nn.Module) -> dict[str, Tensor]:
    """``{name: tensor}`` with each slot once: a module that is used twice under its first name, tied tensors under each."""
    return {
        name: tensor
        for prefix, module in net.named_modules()
        for found in (module.named_parameters, module.named_buffers)
        for name, tensor in found(prefix=prefix, recurse=False, remove_duplicate=False)
    }


@contextmanager
def kept(net: nn.Module) -> Iterator[None]:
    """Whatever attributes of the modules, and of the lists, dicts and sets among them, change inside is put back."""
    found: list[Any] = [module.__dict__ for module in net.modules()]
    found += [v for attributes in found for v in attributes.values() if isinstance(v, dict | list | set | deque)]
    before = [(now, now.copy()) for now in found]
    try:
        yield
    finally:
        for now, old in before:
            if not _same(now, old):
                now.clear()
                now.extend(old) if isinstance(now, list | deque) else now.update(old)


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        return all(k is m and v is w for (k, v), (m, w) in zip(a.items(), b.items(), strict=True))
    return a == b if isinstance(a, set) else all(v is w for v, w in zip(a, b, strict=True))


def call(net: nn.Module, values: Mapping[str, Tensor], x: Tensor) -> Any:
    """``net(x)`` with ``values`` in its slots, by name; the net is left as it was, after an error too."""
    with kept(net), Batchable():
        return functional_call(net, dict(values), (x,), tie_weights=False)


class Batchable(TorchFunctionMode):
    """Two layers in plain arithmetic, which ``vmap`` batches over chains as it is.

    Torch's own rule for BatchNorm with fixed statistics gives wrong gradients under ``vmap``; weight norm has no rule.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.batch_norm:
            return _batch_norm(func, *args, **kwargs)
        if getattr(func, "__name__", "") == "_weight_norm":
            return _weight_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    func: Any,
    x: Tensor,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *rest: Any,
    **more: Any,
) -> Tensor:
    if training or mean is None:
        return func(x, mean, var, weight, bias, training, *rest, **more)
    eps = more.get("eps", rest[1] if len(rest) > 1 else 1e-5)
    shape = (-1, *[1] * (x.dim() - 2))
    factor = (var + eps).rsqrt() if weight is None else (var + eps).rsqrt() * weight
    out = (x - mean.reshape(shape)) * factor.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    others = [i for i in range(v.dim()) if i != dim % v.dim() or dim == -1]
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=True))


def probe(net: nn.Module, values: Mapping[str, Tensor], x: Tensor) -> frozenset[str]:
    """Run the net on a few rows with copies of ``values``; raise ModelError where its output is no function of them and x.

    Returns the names of counters: integer buffers that the forward pass writes to, which get a fresh copy in each call.
    """
    copies = {name: value.detach().clone() for name, value in values.items()}
    given = dict(copies)
    loose = [(m, k, v) for m in net.modules() for k, v in m.__dict__.items() if isinstance(v, Tensor)]
    with seeded(0, x.device), torch.enable_grad(), kept(net), Batchable():
        held = [(m, k, v, v.detach().clone()) for m, k, v in loose if not v.requires_grad]
        for module, key, _, copy in held:
            module.__dict__[key] = copy
        output = functional_call(net, given, (x[:PROBED].detach(),), tie_weights=False)
        written = [k for m, k, v, copy in held if not _equal(copy, v)]
    _check_leaves(net, output)
    buffers = dict(net.named_buffers(remove_duplicate=False))
    changed = [name for name in values if given[name] is not copies[name] or not _equal(copies[name], values[name])]
    refused = [*written, *(n for n in changed if n not in buffers or buffers[n].is_floating_point())]
    if refused:
        raise ModelError(
            f"the net's forward pass writes to its own {', '.join(map(repr, refused))}, so its output would depend on the "
            "calls before: call net.eval() if it does so in training alone (spectral_norm, running statistics), else "
            "compute it as a new tensor (nn.Embedding: max_norm=None)"
        )
    return frozenset(changed)


def _equal(a: Tensor, b: Tensor) -> bool:
    """The same numbers, NaN being NaN."""
    return torch.equal(a, b) or (a.is_floating_point() and torch.equal(a.nan_to_num(3.5), b.nan_to_num(3.5)))


def _check_leaves(net: nn.Module, output: Any) -> None:
    """Nothing that was given can have a gradient: what has one came into the output past the slots."""
    if not isinstance(output, Tensor) or (output.grad_fn is None and not output.requires_grad):
        return
    nodes, seen, leaves = [output.grad_fn], set(), []
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            leaves += [v for v in (getattr(node, "variable", None),) if v is not None]
            nodes += [n for n, _ in node.next_functions]
    names = {id(p): name for name, p in net.named_parameters()}
    what = sorted({repr(names[id(v)]) if id(v) in names else f"of shape {tuple(v.shape)}" for v in leaves})
    raise ModelError(
        f"the net's forward pass reaches a parameter ({', '.join(what)}) by another way than the attribute that it is "
        "registered under, so it would not be inferred: hold parameters in attributes, nn.ParameterList or "
        "nn.ParameterDict (not in a list, nor as a tensor computed once in __init__), and read them from there in forward"
    )


def check_output(output: Any, x: Tensor) -> Tensor:
    """The net's output if it is one floating tensor with a row for each row of x; else an error says what to write."""
    if not isinstance(output, Tensor):
        pick = "[0]" if isinstance(output, tuple | list) else ".logits"
        keys = [k for k in output if isinstance(output[k], Tensor)] if isinstance(output, Mapping) else []
        if isinstance(output, Mapping):
            pick = f"[{keys[0]!r}]" if keys else "[…]"
        elif not isinstance(output, tuple | list):
            names = [k for k, v in getattr(output, "__dict__", {}).items() if isinstance(v, Tensor)]
            pick = f".{names[0]}" if names else ".…"
        raise ModelError(
            f"the net must give one tensor, [rows, outputs], got {type(output).__name__}: wrap it in a module that picks "
            f"the tensor to model, and write BNN(Output(net), …):\n{PICK.format(pick=pick)}"
        )
    if not output.is_floating_point():
        raise ModelError(f"the net must give real numbers that the likelihood takes, got {output.dtype}: write out.float()")
    if output.dim() == 0 or output.shape[0] != len(x):
        raise DataError(
            f"the net must give one row of output a row of x: x has {len(x)}, got {tuple(output.shape)}; keep the rows "
            "first (start_dim=1 in flatten, batch_first=True in recurrent layers)"
        )
    return output
