"""A Bayesian neural network is a plain Pyro model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from ._scope import factory
from ._torch import BatchNorm, IntegerInterval
from .laws import moved
from .nets import _functional as functional
from .types import CommonPrior, DataError, Handled, Likelihood, ModelError, Prior, Wide


class BNN:
    """``BNN(net, prior, likelihood)``: calling it runs the Pyro model ``w ~ prior, y ~ likelihood(net(x; w))``.

    ``model(x, y=None, *, size=None)`` has one latent site per parameter of the net, under the parameter's name and in
    its shape, and one site ``"y"`` in ``pyro.plate("data", size or len(x))``: observed if y is given, sampled if not.
    With ``size`` larger than ``len(x)`` the rows are a minibatch and Pyro scales their log likelihood by size/len(x).
    So ``pyro.infer.MCMC``, ``SVI``, autoguides, ``Predictive`` and every ``poutine`` handler work on it directly.

    The net itself is never changed: weights enter by ``torch.func.functional_call``, and whatever the forward pass leaves
    behind on the net is put back. A parameter that the net holds twice (tied weights, a layer used twice) is one site,
    under its first name. Parameters with ``requires_grad=False`` are not random: they stay at the net's values, as
    buffers do. The model runs on x's device, in x's dtype where that is floating; a prior such as ``Normal(0., 1.)``
    follows without being told.

    Raises ModelError for a net with BatchNorm in training mode (its output for one row depends on the other rows, so there
    is no likelihood of a row; with fixed statistics, after ``net.eval()``, it is a layer like others), without parameters,
    or that is no function of its parameters (TorchScript, ``torch.compile``, lazy layers). When first called with rows of
    one shape it runs the net once more, and raises ModelError if the forward pass writes to the net's own parameters and
    buffers, or reaches a parameter past its registered attribute; DataError for rows that do not fit.
    """

    def __init__(self, net: nn.Module, prior: Prior, likelihood: Likelihood) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"BNN needs a torch.nn.Module as its net, such as nets.MLP(8, 1); got {net!r}")
        for role, part, example in (("prior", prior, "Normal(1.0)"), ("likelihood", likelihood, "Gaussian()")):
            if not callable(part) or isinstance(part, type):
                raise TypeError(f"BNN needs an instance as its {role}, such as {example}; got {part!r}")
            if isinstance(part, torch.distributions.Distribution):
                raise TypeError(f"BNN needs a {role} such as {example}, which makes a distribution; got one, {part!r}")
        _check_prior(prior)
        functional.check_net(net)
        self.net, self.prior, self.likelihood = net, prior, likelihood
        self._probed: dict[Any, frozenset[str]] = {}  # counters among the buffers, by the kind of rows and mode of the net

    def __call__(self, x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> Tensor:
        self._check_rows(x, y, size)
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        with factory(x.device, dtype):
            fixed = self._fixed(x, dtype)
            f = self._output(fixed | self._weights(x.device, dtype), x)
            _check_width(self.likelihood, f, x, y)
            law = self._law(f, len(x))
            with pyro.plate("data", size or len(x), subsample=x):
                return pyro.sample("y", law, obs=self._targets(law, y, dtype))

    def _output(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        """``net(x)`` where ``values`` are those of buffers by slot and of parameters by first name."""
        return functional.check_output(functional.call(self.net, self._by_slot(values), x), x)

    def _by_slot(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The value of each slot; a parameter in several slots is known by its first name."""
        first = {id(p): name for name, p in self.net.named_parameters()}
        return {slot: values[first.get(id(t), slot)] for slot, t in functional.slots(self.net).items()}

    def _fixed(self, x: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Buffers and fixed parameters in x's place and dtype; the first time, a run of the net that shows what it is."""
        for name, module in self.net.named_modules():
            if isinstance(module, BatchNorm):
                functional.check_batchnorm(name, module)
        values = {name: _cast(t.detach(), x.device, dtype) for name, t in functional.slots(self.net).items()}
        key = (*(m.training for m in self.net.modules()), x.shape[1:], x.dtype, x.device)
        if key not in self._probed and type(x) is Tensor and x.device.type != "meta":  # a fake tensor has no values
            with _explained(x):
                self._probed[key] = functional.probe(self.net, values, x)
        counters = self._probed.get(key, frozenset())
        return {name: value.clone() if name in counters else value for name, value in values.items()}

    def _weights(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """One sample statement per random parameter."""
        values = {}
        prior = self.prior.begin() if isinstance(self.prior, CommonPrior) else self.prior
        for name, parameter in self.net.named_parameters():
            if parameter.requires_grad:
                law = prior(name, parameter.shape)
                _check_pyro(f"site {name!r}: the prior", law)
                if (law.batch_shape, law.event_shape) != ((), parameter.shape):
                    raise ModelError(
                        f"site {name!r}: the prior gives batch shape {tuple(law.batch_shape)} and event shape "
                        f"{tuple(law.event_shape)}, the weight needs event shape {tuple(parameter.shape)} alone: end the "
                        "prior with .expand(shape).to_event(len(shape))"
                    )
                values[name] = pyro.sample(name, moved(law, device, dtype)).to(device, dtype)
        return values

    def _law(self, f: Tensor, rows: int) -> Any:
        """The law of y, one event a row of x."""
        law = self.likelihood(f)
        _check_pyro("the likelihood", law)
        if law.batch_shape != (rows,):
            more = len(law.batch_shape) - 1
            remedy = f".to_event({more})" if more > 0 and law.batch_shape[0] == rows else ".expand(f.shape[:1])"
            raise ModelError(
                f"the likelihood must give one law a row, batch shape ({rows},), got batch shape {tuple(law.batch_shape)} "
                f"and event shape {tuple(law.event_shape)}: end it with {remedy}"
            )
        return law

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
        if isinstance(law.support, IntegerInterval):
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


def rows_alone(model: Any) -> bool:
    """Whether each row of the model's arguments is by itself: a BNN, under the handlers of this library or not."""
    while isinstance(model, Handled):
        model = model.model
    return isinstance(model, BNN)


def _cast(t: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Real and complex numbers in the precision of the computation, integers as they are."""
    kind = dtype if t.is_floating_point() else dtype.to_complex() if t.is_complex() else t.dtype
    return t.to(device, kind)


@contextmanager
def _explained(x: Tensor) -> Iterator[None]:
    """What the net says about x, with the remedy."""
    try:
        yield
    except (RuntimeError, TypeError, IndexError) as error:
        if not x.is_floating_point():
            raise DataError(f"x is {x.dtype}, and the net does not take that ({error}): write x.float()") from error
        raise DataError(f"the net fails on rows of shape {tuple(x.shape[1:])}, {x.dtype}: {error}") from error


def _check_prior(prior: Any) -> None:
    """Raise TypeError unless the prior takes a weight's name and shape: a rule of the shape is a scale and no prior."""
    taken = inspect.signature(prior)
    try:
        taken.bind("0.weight", torch.Size([1, 1]))
    except TypeError:
        name = getattr(prior, "__name__", type(prior).__name__)
        raise TypeError(
            f"BNN calls prior(name, shape), but {name} takes {taken}: a rule for the scale goes into a prior, Normal({name})"
        ) from None


def _check_width(likelihood: Any, f: Tensor, x: Tensor, y: Tensor | None) -> None:
    """Raise ModelError unless the net is as wide as the likelihood says for this y; for any y where there is none."""
    if not isinstance(likelihood, Wide) or f.dim() < 2:
        return
    known = None if y is None or y.dim() > 2 else y.shape[1] if y.dim() == 2 else 1
    width, columns = f.shape[1], range(1, f.shape[1] + 1) if known is None else (known,)
    wanted = [likelihood.out_features(k) for k in columns]
    if None in wanted or width in wanted:
        return
    outputs = f"{wanted[0]} output{'s' * (wanted[0] != 1)}"
    such = f", as nets.MLP({x.shape[1]}, {wanted[0]}) has" if x.dim() == 2 else ""
    of_y = "" if y is None else f" for y of shape (n{', ' if y.dim() > 1 else ','}{', '.join(map(str, y.shape[1:]))})"
    raise ModelError(
        f"{likelihood} needs {outputs} of the net{of_y}, got {width}: give the net's last layer {outputs}{such}, or take "
        "another likelihood"
    )


def _check_pyro(what: str, law: Any) -> None:
    if isinstance(law, torch.distributions.Distribution) and not isinstance(law, Distribution):
        name = type(law).__name__
        raise ModelError(
            f"{what} must give a distribution of Pyro, got torch.distributions.{name}: write pyro.distributions.{name}"
        )
    if not isinstance(law, Distribution):
        raise ModelError(f"{what} must give a distribution, got {type(law).__name__}: for example pyro.distributions.Normal")
