"""What the scikit-learn estimators share: from arrays to a posterior of a standardised network, and back."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_numeric_dtype
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from .._random import whole_seed
from .._scope import seeded
from ..bnn import BNN
from ..fit import fit
from ..nets import MLP
from ..posterior import Posterior
from ..predict import Prediction
from ..priors import Normal, fan_in
from ..types import Backend, Draws
from .choosing import chosen

DTYPES = (np.float64, np.float32)
"""What x is computed in: as it comes if it is one of these, else in float64."""
NUMBERS = 2**22
"""Rows × draws that are predicted at once."""


class BNNEstimator(BaseEstimator):
    """A fully connected Bayesian network behind scikit-learn's interface. Subclasses know y."""

    hidden: Any
    prior: Any
    backend: Any
    seed: Any
    device: Any
    verbose: Any
    backend_: Backend
    backend_reason_: str
    posterior_: Posterior

    def _infer(self, x: np.ndarray, y: np.ndarray, likelihood: Any, outputs: int) -> None:
        """Sets ``scaler_x_``, ``backend_``, ``backend_reason_``, ``posterior_``. y as the likelihood wants it."""
        self.scaler_x_ = StandardScaler().fit(x)
        self.scaler_x_.scale_[(x == x[:1]).all(0)] = np.inf  # what tells nothing here is 0 for new rows too
        with seeded(whole_seed(self.seed), torch.device("cpu")):  # the net's own values, which no backend here starts from
            net = MLP(x.shape[1], outputs, hidden=self.hidden)
        prior = Normal(fan_in) if self.prior is None else self.prior
        weights = sum(parameter.numel() for parameter in net.parameters())
        self.backend_, self.backend_reason_ = (
            chosen(len(x), weights) if self.backend is None else (self.backend, f"{self.backend}, as it was given")
        )
        if self.verbose:
            print(f"{type(self).__name__}: {self.backend_reason_}.")
        self.posterior_ = fit(
            BNN(net, prior, likelihood),
            (torch.as_tensor(self.scaler_x_.transform(x)), torch.as_tensor(y)),
            self.backend_,
            seed=self.seed,
            device=self.device,
            progress=bool(self.verbose),
        )

    def _gathered(self, X: Any, read: Callable[[Prediction], torch.Tensor], draws: int = 1) -> np.ndarray:
        """``read`` of the predictions at X, in float64, a block of rows after the other; of so many draws or more."""
        check_is_fitted(self)
        x = validated(self, X, reset=False)
        rows = torch.as_tensor(self.scaler_x_.transform(x))
        posterior = _of_draws(self.posterior_, draws)
        block = max(NUMBERS // (posterior.draws.chains * posterior.draws.draws), 1)
        parts = [read(posterior.predict(some, seed=i)).double() for i, some in enumerate(rows.split(block))]
        return torch.cat(parts).numpy()


def validated(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """scikit-learn's checks of X, and of y where it is given. A table with columns of words is refused by their names."""
    try:
        return validate_data(estimator, X, *y, dtype=DTYPES, **options)
    except ValueError as error:
        table = isinstance(X, pd.DataFrame) and "could not convert" in str(error)
        words = [str(c) for c, kind in X.dtypes.items() if not is_numeric_dtype(kind)] if table else []
        if not words:
            raise
        raise ValueError(
            f"X has words in {', '.join(words)} ({error}): turn them into numbers in front, such as by "
            f"make_column_transformer((OneHotEncoder(sparse_output=False), {words}), remainder='passthrough'), "
            "or leave these columns out"
        ) from error


def _of_draws(posterior: Posterior, count: int) -> Posterior:
    """The posterior with each draw as often as it takes for ``count`` draws."""
    times = ceil(count / (posterior.draws.chains * posterior.draws.draws))
    if times == 1:
        return posterior
    sites = {name: value[:].repeat_interleave(times, 1) for name, value in posterior.draws.sites.items()}
    return Posterior(posterior.model, posterior.data, Draws(sites, attrs=posterior.draws.attrs))
