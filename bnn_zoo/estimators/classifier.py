"""A Bayesian neural network as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from ..likelihoods import Bernoulli, Categorical
from ._base import BNNEstimator, validated


class BNNClassifier(ClassifierMixin, BNNEstimator):
    """Classification by a fully connected tanh network whose weights are averaged over and not optimised.

    ``fit(X, y)`` takes X ``[n, features]`` and labels y ``[n]``, numbers or text of two classes or more; arrays, lists or
    pandas tables. X is standardised inside.

    hidden
        sizes of the hidden layers; ``()`` is logistic regression.
    prior
        of the weights, on standardised inputs; None is ``Normal(fan_in)``.
    backend
        how the posterior is found, such as ``NUTS(chains=4)``; None is chosen by the numbers of rows and weights.
    seed
        same seed, data and machine, same answer.
    device
        "cuda" or "cpu", by default the CPU.
    verbose
        print which backend was chosen and why, with a progress bar.

    After ``fit``: ``classes_``; ``posterior_``, the ``bnn_zoo.Posterior`` of the network on standardised data, with
    ``summary()`` and ``to_inference_data()``; ``backend_`` and ``backend_reason_``, a sentence; ``scaler_x_``;
    ``n_features_in_``, and ``feature_names_in_`` after a fit to a table.

    Computes in float64, or in float32 where X is float32. Raises ValueError for NaN, and for labels of one class.
    """

    classes_: np.ndarray

    def __init__(
        self,
        hidden: Any = (50,),
        *,
        prior: Any = None,
        backend: Any = None,
        seed: Any = 0,
        device: Any = None,
        verbose: Any = False,
    ) -> None:
        self.hidden, self.prior, self.backend = hidden, prior, backend
        self.seed, self.device, self.verbose = seed, device, verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Find the posterior of the network's weights given X and y. Warns where chains disagree or something went wrong."""
        X, y = validated(self, X, y, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have two classes or more, got one class alone, {self.classes_[0]!r}")
        if len(self.classes_) == 2:
            self._infer(X, labels, Bernoulli(), 1)
        else:
            self._infer(X, labels, Categorical(len(self.classes_)), len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, averaged over the posterior: ``[n, classes]``, in the order of ``classes_``."""
        p = self._gathered(X, lambda prediction: prediction.mean)
        p = np.stack([1 - p, p], 1) if p.ndim == 1 else p
        return p / p.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row: ``[n]``."""
        p = self.predict_proba(X)  # raises NotFittedError
        return self.classes_[p.argmax(1)]
