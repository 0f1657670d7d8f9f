"""A Bayesian neural network is a plain Pyro model."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from ._scope import factory
from .types import DataError, Likelihood, ModelError, Prior


class BNN:
    """``BNN(net, prior, likelihood)``: calling it runs the Pyro model ``w ~ prior, y ~ likelihood(net(x; w))``.

    ``model(x, y=None, *, size=None)`` has one latent site per parameter of the net, under the parameter's name and in
    its shape, and one site ``"y"`` in ``pyro.plate("data", size or len(x))``: observed if y is given, sampled if not.
    With ``size`` larger than ``len(x)`` the rows are a minibatch and Pyro scales their log likelihood by size/len(x).
    So ``pyro.infer.MCMC``, ``SVI``, autoguides, ``Predictive`` and every ``poutine`` handler work on it directly.

    The net itself is never changed: weights enter by ``torch.func.functional_call``. Parameters with
    ``requires_grad=False`` are not random: they stay at the net's values. The model runs on x's device, in x's
    dtype where that is floating; a prior such as ``Normal(0., 1.)`` follows without being told.

    Raises ModelError for a net with BatchNorm (its output for one row depends on the other rows, so there is no
    likelihood of a row) or without parameters; DataError, when called, for rows that do not fit.
    """

    def __init__(self, net: nn.Module, prior: Prior, likelihood: Likelihood) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"BNN needs a torch.nn.Module as its net, such as nets.MLP(8, 1); got {net!r}")
        for role, part, example in (("prior", prior, "Normal(1.0)"), ("likelihood", likelihood, "Gaussian()")):
            if not callable(part) or isinstance(part, type):
                raise TypeError(f"BNN needs an instance as its {role}, such as {example}; got {part!r}")
        for name, module in net.named_modules():
            if isinstance(module, _BatchNorm):
                raise ModelError(
                    f"layer {name!r} is {type(module).__name__}: with it a row's output depends on the other rows, and "
                    "the posterior is not defined; use nn.GroupNorm or nn.LayerNorm instead"
                )
        if not any(p.requires_grad for p in net.parameters()):
            raise ModelError("the net has no parameter with requires_grad=True: there is nothing to infer")
        self.net, self.prior, self.likelihood = net, prior, likelihood

    def __call__(self, x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> Tensor:
        self._check_rows(x, y, size)
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        with factory(x.device, dtype):
            f = self._output(self._weights(x.device, dtype), x)
            if f.shape[0] != len(x):
                raise DataError(f"the net must give one row of output a row of x: x has {len(x)}, got {tuple(f.shape)}")
            law = self.likelihood(f)
            with pyro.plate("data", size or len(x), subsample=x):
                return pyro.sample("y", law, obs=self._targets(law, y, dtype))

    def _output(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        try:
            return functional_call(self.net, weights, (x,))
        except RuntimeError as error:
            if x.is_floating_point():
                raise
            raise DataError(f"x is {x.dtype}, and the net does not take that ({error}): write x.float()") from error

    def _weights(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """One sample statement per random parameter; fixed parameters and buffers as they are, in place and dtype."""
        values = {
            name: t.detach().to(device, dtype if t.is_floating_point() else t.dtype)
            for name, t in (*self.net.named_buffers(), *self.net.named_parameters())
            if not t.requires_grad
        }
        for name, parameter in self.net.named_parameters():
            if parameter.requires_grad:
                law = self.prior(name, parameter.shape)
                if not isinstance(law, Distribution):
                    raise ModelError(f"site {name!r}: the prior must give a distribution, got {type(law).__name__}")
                if (law.batch_shape, law.event_shape) != ((), parameter.shape):
                    raise ModelError(
                        f"site {name!r}: the prior gives batch shape {tuple(law.batch_shape)} and event shape "
                        f"{tuple(law.event_shape)}, the weight needs event shape {tuple(parameter.shape)} alone: end the "
                        "prior with .expand(shape).to_event(len(shape))"
                    )
                values[name] = pyro.sample(name, law).to(device, dtype)
        return values

    @staticmethod
    def _targets(law: Any, y: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """Class labels stay integers, every other kind of y takes the dtype of the computation."""
        if y is None:
            return None
        if y.shape != law.shape():  # Pyro would broadcast [n] against [n, 1] to [n, n]
            squeeze = ": write y.squeeze(-1)" if y.shape == (*law.shape(), 1) else ""
            raise DataError(
                f"y must have the shape that the likelihood gives, {tuple(law.shape())}, got {tuple(y.shape)}{squeeze}"
            )
        if isinstance(law.support, type(constraints.integer_interval(0, 1))):
            if y.is_floating_point():
                raise DataError(f"class labels must be integers 0 … classes − 1, got {y.dtype}: write y.long()")
            return y.long()
        return y.to(dtype)

    @staticmethod
    def _check_rows(x: Any, y: Any, size: int | None) -> None:
        for name, value in (("x", x), ("y", y)):
            if not isinstance(value, Tensor) and not (name == "y" and value is None):
                raise DataError(f"{name} must be a tensor, got {type(value).__name__}: use torch.as_tensor")
        if x.dim() < 2 or len(x) == 0:
            remedy = ": write x[:, None] for one feature" if x.dim() == 1 else ""
            raise DataError(f"x must be [rows, …features] with at least one row, got {tuple(x.shape)}{remedy}")
        if x.dtype in (torch.uint8, torch.bool):
            raise DataError(f"x is {x.dtype}: turn it into numbers first, for images x.float() / 255")
        if y is not None and y.device != x.device:
            raise DataError(f"x is on {x.device} and y on {y.device}: move both to one device")
        if y is not None and (y.dim() == 0 or len(y) != len(x)):
            raise DataError(f"x has {len(x)} rows, so y must too, got y of shape {tuple(y.shape)}")
        if size is not None and size < len(x):
            raise DataError(f"size is the number of rows of the whole data set: expected at least {len(x)}, got {size}")

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.net.parameters() if p.requires_grad)
        return f"BNN({type(self.net).__name__} with {count:,} weights, {self.prior}, {self.likelihood})"
