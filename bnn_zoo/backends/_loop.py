"""What is said of a run at its end."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from .._random import whole_seed


def interrupted(done: int, total: int, what: str) -> bool:
    """Whether a run was cut short: nothing kept raises KeyboardInterrupt, something kept warns and goes on."""
    if done == total:
        return False
    if done == 0:
        raise KeyboardInterrupt(f"interrupted before the first of {total} {what}: nothing to return")
    warnings.warn(f"interrupted: {done} of {total} {what} were made and are returned", stacklevel=3)
    return True


def describe_run(backend: Any, *, seed: int, device: torch.device, dtype: torch.dtype, **more: Any) -> dict[str, Any]:
    """The attrs of a run: backend, its settings as JSON, seed, place, versions, and whatever else is given."""
    settings = {f.name: getattr(backend, f.name) for f in fields(backend)}
    return {
        "backend": type(backend).__name__,
        "settings": json.dumps(settings, default=lambda value: getattr(value, "__name__", repr(value))),
        "seed": whole_seed(seed),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "torch_version": str(torch.__version__),
        "pyro_version": version("pyro-ppl"),
        **more,
    }


def to_cpu(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in values.items()}
