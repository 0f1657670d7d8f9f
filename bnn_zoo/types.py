"""The nouns of the library on one page: what each part takes, what it gives, in which shapes.

=============  ==============================================================================================
Model          any Pyro callable; ``model(*args, **kwargs)`` runs ``pyro.sample`` statements. A ``BNN`` is one.
Net            any ``torch.nn.Module``; a pure function of (weights, x). BatchNorm only in eval mode.
Prior          ``(name, shape) -> Distribution``, called inside the model, so it may itself ``pyro.sample``.
Likelihood     ``(f) -> Distribution`` of y given the network output f, one row of y per row of f.
LogJoint       a Model with its data as a batched function of a flat unconstrained vector, with its gradient.
Kernel         ``init(position, target, random) -> State`` and ``step(target, state, parameters, random) -> (State, Info)``.
Backend        a frozen dataclass of settings with ``run(model, data, ...) -> Draws``.
Draws          what comes out of a backend: tensors named by site, statistic and history.
=============  ==============================================================================================

Shapes: ``chain`` comes first, then ``draw``, then the site's own shape. Inside kernels a position is ``[chain, dim]``:
every latent site, mapped to the real line by its support's bijection, flattened and laid end to end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Model = Callable[..., Any]
"""Any Pyro model. Its latent sites are what is inferred; its observed sites are the data."""

Schedule = Callable[[int], float]
"""A positive setting (step size, temperature, learning rate) as a function of the step, counted from 0."""


class ModelError(ValueError):
    """The model cannot be turned into a log joint: the message names the site and the remedy."""


class DataError(ValueError):
    """The data do not fit the model: the message says what was expected, what came and what to do."""


class Handled:
    """A model that is another one under an effect on single sites: rows that were independent still are.

    ``model`` is that other one; subclasses give ``effect()``, the context in which it is run.
    """

    def __init__(self, model: Model) -> None:
        if not callable(model) or isinstance(model, type):
            raise TypeError(f"{type(self).__name__} needs a Pyro model, such as a BNN; got {model!r}")
        self.model = model
        self.__signature__ = inspect.signature(model)

    def effect(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.effect():
            return self.model(*args, **kwargs)


@runtime_checkable
class Prior(Protocol):
    """A law for a weight: ``prior("0.weight", torch.Size([50, 8]))`` gives a distribution over that whole tensor.

    The distribution's event shape is the weight's shape: independent weights are made by ``.to_event(len(shape))``.
    A prior is called inside the Pyro model and may sample its own hyperparameters at sites ``f"{name}_…"``: with an
    underscore, because Pyro's autoguides nest names at dots, and a site cannot live below another.
    """

    def __call__(self, name: str, shape: torch.Size) -> Any: ...


@runtime_checkable
class CommonPrior(Protocol):
    """A prior whose weights have something in common: ``begin()`` is called once a run and gives the prior of that run.

    A site may occur once in a run, so what is sampled for the first weight must be known at the second. ``begin`` makes
    the place where it is kept, and nothing is left of it after the run.
    """

    def __call__(self, name: str, shape: torch.Size) -> Any: ...

    def begin(self) -> Prior: ...


@runtime_checkable
class Likelihood(Protocol):
    """The law of one row of y given the network output of that row.

    ``f`` has shape ``[..., n, outputs]``; the returned distribution has batch shape ``[..., n]``. It knows no plate and
    no data size. It may sample parameters of its own (an unknown noise scale), outside the plate over rows.
    """

    def __call__(self, f: Tensor) -> Any: ...


@runtime_checkable
class Wide(Protocol):
    """A likelihood that knows how wide the network must be; one without this method is not asked.

    ``out_features(columns)``: the number of outputs for a y of ``columns`` columns (1 for ``[n]``, k for ``[n, k]``), None
    where the likelihood cannot tell, as for classes that were not counted. Likelihoods of y ``[n]`` alone do not read it.
    The outputs are dimension 1 of what the network gives. ``BNN`` asks it, and says what to write where it is not so wide.
    """

    def out_features(self, columns: int = 1) -> int | None: ...


@dataclass
class Draws:
    """What a backend returns. All tensors are on the CPU.

    sites
        ``{site: [chain, draw, *shape]}``, in the site's own (constrained) space: tensors, or, of a run that is kept in a
        folder, ``run.Stored``: these lie on disk and are read where they are indexed. ``sites["w"][:, :10]`` is a tensor
        either way, and ``sites["w"][:]`` is all of it; ``shape``, ``dtype``, ``dim()`` and ``len()`` are the tensor's.
    stats
        ``{name: [chain, draw]}``, under ArviZ's names: ``lp``, ``energy``, ``diverging``, ``tree_depth``, ``n_steps``,
        ``step_size``, ``acceptance_rate``, …
    history
        ``{name: [step]}`` or ``{name: [chain, step]}``: traces of the tuning or optimisation, such as the ELBO.
    attrs
        plain values: backend, settings, seed, ``gradients`` (gradients of one chain's log joint, summed over chains,
        warm-up included), ``tuning_time`` and ``sampling_time`` in seconds, versions.
    """

    sites: dict[str, Any]
    stats: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, Tensor] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def chains(self) -> int:
        return next(iter(self.sites.values())).shape[0]

    @property
    def draws(self) -> int:
        return next(iter(self.sites.values())).shape[1]


@runtime_checkable
class Fitted(Protocol):
    """What has draws: a ``Posterior``."""

    draws: Draws


@runtime_checkable
class Backend(Protocol):
    """Settings of one way to infer, with ``run``. A third party's dataclass with this method is a backend too."""

    def run(
        self,
        model: Model,
        data: Any,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Draws: ...


class Randomness(Protocol):
    """Where a kernel's random numbers come from: for each chain its own, or one number that all chains share.

    ``normal(5)`` gives independent N(0, 1) of shape ``[chain, 5]``, ``uniform()`` Uniform(0, 1) of shape ``[chain]``.
    ``moved(x, drift, rate, scale)`` is ``x + rate · drift + scale · normal(dim)``, all ``[chain, dim]``, as a new tensor.
    """

    def normal(self, *shape: int) -> Tensor: ...

    def moved(self, x: Tensor, drift: Tensor, rate: float, scale: float) -> Tensor: ...

    def uniform(self, *shape: int) -> Tensor: ...

    def common(self) -> float: ...


LogJointFn = Callable[..., tuple[Tensor, Tensor]]
"""``(position [chain, dim], *rows) -> (log joint [chain], its gradient [chain, dim])``."""


@runtime_checkable
class Inlining(Protocol):
    """A log joint that can take the inner step of a sampler into its compiled graph: ``density.LogJoint``.

    ``unroll(chains)``: how many such steps one graph should make, where a sampler has many in a row. More spare the time
    between calls; those that the sampler turns out not to need are wasted.
    """

    def unroll(self, chains: int) -> int: ...

    def inline(self, f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]: ...


@runtime_checkable
class Compiling(Protocol):
    """A log joint that is compiled after some calls: ``density.LogJoint``.

    ``calls`` counts them, and ``anew(calls)`` begins to count from there: a run that goes on is compiled when it would have
    been without a break.
    """

    @property
    def calls(self) -> int: ...

    def anew(self, calls: int = 0) -> None: ...


Values = Mapping[str, Tensor]
"""Values of latent sites by name, in constrained space."""
