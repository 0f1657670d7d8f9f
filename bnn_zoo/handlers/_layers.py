"""Meeting a random weight again where a layer uses it, without changing the layer, the model or torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Layer = Callable[..., Tensor]
LAYERS = (F.linear, torch.conv1d, torch.conv2d, torch.conv3d)


class Layers(Messenger):
    """Remembers the law of each weight that is sampled under it, and runs linear and convolutional layers through ``layer``.

    Only calls made inside its ``with`` are seen (``TorchFunctionMode``). A weight that is used in any other way is an
    ordinary draw, which is right too. The bias is added as it is: a random bias is one draw for all rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.laws: dict[int, tuple[Tensor, Any]] = {}

    def __enter__(self) -> Any:
        self.laws.clear()
        self.mode = _Mode(self)
        self.mode.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        self.mode.__exit__(*error)
        return super().__exit__(*error)

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and isinstance(msg["value"], Tensor) and id(msg["value"]) not in self.laws:
            law = msg["fn"]
            while isinstance(law, torch.distributions.Independent):
                law = law.base_dist
            if self.accepts(law):
                self.laws[id(msg["value"])] = (msg["value"], law)  # the tensor too, so that its id stays taken

    def accepts(self, law: Any) -> bool:
        """Whether weights of this law get special treatment."""
        raise NotImplementedError

    def layer(self, layer: Layer, x: Tensor, law: Any, weight: Tensor, **settings: Any) -> Tensor:
        """The layer's output without bias, for inputs x ``[n, …]`` and a weight drawn from ``law``."""
        raise NotImplementedError


class _Mode(TorchFunctionMode):
    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in LAYERS and len(args) >= 2 and id(args[1]) in self.layers.laws:
            x, weight, *rest = args
            names = ("bias", "stride", "padding", "dilation", "groups")
            settings = dict(zip(names, rest, strict=False)) | kwargs
            bias = settings.pop("bias", None)
            out = self.layers.layer(func, x, self.layers.laws[id(weight)][1], weight, **settings)
            return out if bias is None else out + _like(bias, out, func)
        return func(*args, **kwargs)


def _like(bias: Tensor, out: Tensor, layer: Layer) -> Tensor:
    """The bias ``[units]`` along the channels of ``out``."""
    return bias if layer is F.linear else bias.reshape(-1, *[1] * (out.dim() - 2))


def per_channel(x: Tensor, layer: Layer) -> tuple[int, ...]:
    """The shape of one number for each row and channel of x: ``[n, in]``, or ``[n, in, 1, …]`` for convolutions."""
    return tuple(x.shape) if layer is F.linear else (*x.shape[:2], *[1] * (x.dim() - 2))
