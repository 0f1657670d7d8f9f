"""A Bayesian neural network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler
from torch.distributions import MixtureSameFamily, constraints

from .._scope import seeded
from .._torch import IntegerInterval
from ..likelihoods import Gaussian
from ..predict import base_law
from ..types import Wide
from ._base import BNNEstimator, validated

ENOUGH = 4_000
"""Draws of a row's y from which an interval is read, at least."""


class BNNRegressor(RegressorMixin, BNNEstimator):
    """Regression by a fully connected tanh network whose weights are averaged over and not optimised.

    ``fit(X, y)`` takes X ``[n, features]`` and y ``[n]``, or ``[n, k]`` for k targets; arrays, lists or pandas tables.
    Both are standardised inside, and predictions are in y's own units.

    hidden
        sizes of the hidden layers; ``()`` is linear regression.
    prior
        of the weights, on standardised inputs; None is ``Normal(fan_in)``.
    likelihood
        the law of y given the network; None is ``Gaussian()``, whose noise is inferred, in units of standardised y. y is
        standardised only under laws on the whole real line: under ``Poisson()`` it stays a count.
    backend
        how the posterior is found, such as ``NUTS(chains=4)``; None is chosen by the numbers of rows and weights.
    seed
        same seed, data and machine, same answer.
    device
        "cuda" or "cpu", by default the CPU.
    verbose
        print which backend was chosen and why, with a progress bar.

    After ``fit``: ``posterior_``, the ``bnn_zoo.Posterior`` of the network on standardised data, with ``summary()`` and
    ``to_inference_data()``; ``backend_`` and ``backend_reason_``, a sentence; ``scaler_x_`` and ``scaler_y_``, the
    standardisations; ``n_features_in_``, and ``feature_names_in_`` after a fit to a table.

    Computes in float64, or in float32 where X is float32. Raises ValueError for NaN, and where y is constant.
    """

    def __init__(
        self,
        hidden: Any = (50,),
        *,
        prior: Any = None,
        likelihood: Any = None,
        backend: Any = None,
        seed: Any = 0,
        device: Any = None,
        verbose: Any = False,
    ) -> None:
        self.hidden, self.prior, self.likelihood, self.backend = hidden, prior, likelihood, backend
        self.seed, self.device, self.verbose = seed, device, verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Find the posterior of the network's weights given X and y. Warns where chains disagree or something went wrong."""
        X, y = validated(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        if (y == y[:1]).all(0).any():
            raise ValueError(
                "a target y is the same in all rows: nothing can be learnt from it, and the noise would shrink to 0"
            )
        likelihood = Gaussian() if self.likelihood is None else self.likelihood
        table = y.reshape(len(y), -1).astype(np.float64)
        columns = table.shape[1]
        outputs = (likelihood.out_features(columns) if isinstance(likelihood, Wide) else None) or columns
        real = _on_real_line(likelihood, outputs)
        self.scaler_y_ = StandardScaler(with_mean=real, with_std=real).fit(table)
        scaled = self.scaler_y_.transform(table).astype(X.dtype)
        self._infer(X, scaled if columns > 1 else scaled[:, 0], likelihood, outputs)
        self._y_shape = y.shape[1:]
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of y at each row of X, ``[n]`` or ``[n, k]``; with ``return_std`` also the standard deviation of a new y,
        of noise and ignorance together."""
        if not return_std:
            return self._in_units(self._gathered(X, lambda p: p.mean))
        both = self._gathered(X, lambda p: torch.stack([p.mean, p.sd], 1))
        mean, sd = both[:, 0], both[:, 1].reshape(len(both), -1)
        scale = 1.0 if self.scaler_y_.scale_ is None else self.scaler_y_.scale_
        return self._in_units(mean), (sd * scale).reshape(-1, *self._y_shape)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, each like ``predict(X)``, between which a new y lies with probability ``level``.

        As much probability is left out below as above. They are quantiles of y's predictive law, from draws of it, so they
        need not be symmetric about the mean. Raises ValueError unless 0 < level < 1.
        """
        if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 < level < 1:
            raise ValueError(f"level must be a probability between 0 and 1, such as 0.9, got {level!r}")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        found = self._gathered(X, lambda p: p.draws.double().flatten(0, 1).quantile(ends, 0).movedim(0, 1), ENOUGH)
        return self._in_units(found[:, 0]), self._in_units(found[:, 1])

    def _in_units(self, y: np.ndarray) -> np.ndarray:
        """Standardised y in its own units, ``[n]`` or ``[n, k]`` as it was in ``fit``."""
        return self.scaler_y_.inverse_transform(y.reshape(len(y), -1)).reshape(-1, *self._y_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _on_real_line(likelihood: Any, outputs: int) -> bool:
    """Whether y may be any real number under this law. Raises ValueError for laws of classes."""
    with seeded(0, torch.device("cpu")):
        law = base_law(likelihood(torch.full((2, outputs), 0.5)))
    if isinstance(law, MixtureSameFamily):
        law = base_law(law.component_distribution)
    if isinstance(law.support, IntegerInterval | type(constraints.boolean)):
        raise ValueError(f"{likelihood} is a law of classes: use BNNClassifier, or a law of numbers such as Gaussian()")
    return law.support in (constraints.real, constraints.real_vector)
