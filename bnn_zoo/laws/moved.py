"""A law made elsewhere, on the device and in the dtype of the computation."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

KNOWN = ("torch.distributions.", "pyro.distributions.", "bnn_zoo.laws.")
"""Modules whose classes keep their constructor's arguments under the same names, so that a law can be made again."""
STORED = {"base_distribution": "base_dist", "transform": "inv"}
"""Arguments that are kept under another name; a leading underscore is tried for all."""
ALTERNATIVES = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"), ("gate_logits", "gate"))
"""Of these a law is given one, and computes the others from it."""

MISSING = object()


def moved(law: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """``law`` with its tensors on ``device`` and its floating ones in ``dtype``; ``law`` itself where they are already.

    ``dist.HalfNormal(1.0)`` makes its tensor where and when it is written: on the CPU, in float32. A law of torch or Pyro is
    made again from its constructor's arguments, so what it computes from them (a Cholesky factor, a reciprocal) is computed
    in the new dtype; values are kept as they are, so float32's 0.3 stays float32's 0.3. ``Independent``,
    ``TransformedDistribution``, expanded, masked and folded laws and mixtures move with what they contain. A law of
    ``torch.distributions`` becomes Pyro's of the same name, since ``pyro.sample`` takes no other.

    Raises TypeError for a law that Pyro cannot sample, ValueError for one that cannot be made again: of a class whose
    constructor is not torch's or Pyro's, or with a trainable transform.
    """
    if isinstance(law, TorchDistributionMixin):
        return _moved(law, device, dtype)
    kind, name = getattr(dist, type(law).__name__, None), type(law).__name__
    if kind is None or _arguments(law) is None:
        raise TypeError(f"{name} is no law of Pyro, which pyro.sample needs: subclass pyro.distributions.TorchDistribution")
    return _again(law, kind, device, dtype)


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else value.dtype)
    if isinstance(value, nn.Module):
        return _refuse_unless_there(value, value.state_dict(keep_vars=True).values(), device, dtype)
    if isinstance(value, Distribution | Transform):
        return _again(value, type(value), device, dtype)
    if isinstance(value, list):
        each = [_moved(v, device, dtype) for v in value]
        return value if all(a is b for a, b in zip(each, value, strict=True)) else each
    return value


def _again(law: Any, kind: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """``law`` as a ``kind``: made again from its moved arguments, if any of them moved."""
    given = _arguments(law)
    if given is None:
        return _refuse_unless_there(law, _tensors(law), device, dtype)
    new = {name: _moved(value, device, dtype) for name, value in given.items()}
    if isinstance(law, kind) and all(new[name] is value for name, value in given.items()):
        return law
    # a law with a switch of its own checks values even where checks are off, as in traced code: only "never" is kept
    off = {"validate_args": False} if vars(law).get("_validate_args") is False and "validate_args" in _names(kind) else {}
    made = kind(**new, **off)
    if isinstance(law, Distribution) and (made.batch_shape, made.event_shape) != (law.batch_shape, law.event_shape):
        raise ValueError(_remedy(law, device, dtype))
    return made


def _arguments(law: Any) -> dict[str, Any] | None:
    """The constructor's arguments that would make ``law``, or None where they are not known."""
    if not f"{getattr(type(law).__init__, '__module__', '')}.".startswith(KNOWN):
        return None
    kind: Any = type(law)
    names = [name for name in _names(kind) if name != "validate_args"]
    for group in ALTERNATIVES:
        if set(group) <= set(names):
            given = _first(law, group) or group[0]
            names = [name for name in names if name == given or name not in group]
    found = {name: _stored(law, name) for name in names}
    return None if MISSING in found.values() else found


def _stored(law: Any, name: str) -> Any:
    value = getattr(law, STORED.get(name, name), MISSING)
    return getattr(law, f"_{name}", MISSING) if value is MISSING or inspect.ismethod(value) else value


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.__init__).parameters)[1:]


def _first(law: Any, group: tuple[str, ...]) -> str | None:
    """Which of a group of alternatives was given, to the law or to the law that it wraps: the others are stored later."""
    found = next((name for name in vars(law) if name in group), None)
    inside = (_first(part, group) for part in vars(law).values() if isinstance(part, Distribution))
    return found or next((name for name in inside if name), None)


def _tensors(law: Any) -> list[Tensor]:
    """All tensors in a law, those of its parts included."""
    out, seen, ahead = [], set(), [law]
    while ahead:
        part = ahead.pop()
        if id(part) in seen:  # a transform and its inverse know each other
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            out.append(part)
        elif isinstance(part, nn.Module):
            out += part.state_dict(keep_vars=True).values()
        elif isinstance(part, Distribution | Transform):
            ahead += vars(part).values()
        elif isinstance(part, list | tuple):
            ahead += part
    return out


def _refuse_unless_there(law: Any, tensors: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if any(_moved(t, device, dtype) is not t for t in tensors):
        raise ValueError(_remedy(law, device, dtype))
    return law


def _remedy(law: Any, device: torch.device, dtype: torch.dtype) -> str:
    name = type(law).__name__
    return (
        f"the law {name} was made outside the model, and cannot be moved to {device} and {dtype}: it is not made from "
        f"tensors alone by torch or Pyro. Make it inside the model: as a prior's scale write lambda shape: {name}(…), as a "
        f"likelihood's scale or a prior lambda name, shape: {name}(…)"
    )
