"""A fitted network as a BoTorch model: each draw of the weights is one function."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.ensemble import EnsembleModel
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..bnn import rows_alone
from ..posterior import Posterior
from ..predict import can_batch, means
from .regressor import BNNRegressor


class BNNModel(EnsembleModel):
    """The functions that a posterior holds, for BoTorch's acquisition functions. ``BNNModel(BNNRegressor().fit(X, Y))``.

    ``posterior(X)`` with X ``[*batch, q, d]`` is an ``EnsemblePosterior`` over ``[*batch, q, m]``: its samples are the
    network at draws of its weights, the same draw at all q points. They are of the function and not of a new y: noise is
    left out. All is differentiable in X. With a ``BNNRegressor``, X and y are in their own units; a ``Posterior`` of a
    ``BNN`` is taken as it is.

    fitted
        a fitted ``BNNRegressor``, or the ``Posterior`` of a ``BNN``.
    functions
        how many of the draws are used, evenly spaced; None: all. The time of an evaluation grows with it.

    New observations need a new fit: ``condition_on_observations`` and ``fantasize``, and with them look-ahead acquisition
    functions such as the knowledge gradient, are refused.
    """

    def __init__(self, fitted: BNNRegressor | Posterior, functions: int | None = 256) -> None:
        if functions is not None and (isinstance(functions, bool) or not isinstance(functions, int) or functions < 2):
            raise ValueError(f"BNNModel needs functions=2 or more, a whole number, or None for all draws, got {functions!r}")
        super().__init__()
        self.fitted, scaler_x, scaler_y = _parts(fitted)
        flat = {name: value[:].flatten(0, 1) for name, value in self.fitted.draws.sites.items()}
        count = len(next(iter(flat.values())))
        at = torch.linspace(0, count - 1, min(functions or count, count)).round().long()
        self.sites = {name: value[at] for name, value in flat.items()}
        self._dtype = next(iter(flat.values())).dtype
        for axis, scaler in (("x", scaler_x), ("y", scaler_y)):
            self.register_buffer(f"mean_{axis}", _numbers(scaler, "mean_", 0.0))
            self.register_buffer(f"scale_{axis}", _numbers(scaler, "scale_", 1.0))
        example = self.fitted.rows[0][:2].cpu()
        self._together = can_batch(self.fitted.model, self.sites, example)
        self._num_outputs = self._functions(example).shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """Of the model: none. Batches are those of X."""
        return torch.Size()

    def forward(self, X: Tensor) -> Tensor:
        """Each function at X ``[*batch, q, d]``: ``[*batch, functions, q, m]``, differentiable in X."""
        if X.shape[-1] != (wanted := self.fitted.rows[0].shape[1]):
            raise ValueError(f"X must be [*batch, q, {wanted}], as many columns as in the fit, got {tuple(X.shape)}")
        scaled = (X - self.mean_x) / self.scale_x
        f = self._functions(scaled.flatten(0, -2)).unflatten(1, X.shape[:-1])
        return (self.mean_y + self.scale_y * f).to(X).movedim(0, -3)

    def _functions(self, x: Tensor) -> Tensor:
        """In the network's own units: ``[functions, n, m]``."""
        f = means(self.fitted.model, self.sites, x.to(self._dtype), together=self._together)
        return f if f.dim() > 2 else f[..., None]

    def condition_on_observations(self, X: Tensor, Y: Tensor, **kwargs: Any) -> NoReturn:
        """Raises UnsupportedError."""
        raise UnsupportedError(
            "BNNModel holds draws of a network's weights, and what new observations do to them has no closed form: fit "
            "again with all observations, BNNModel(BNNRegressor().fit(X, Y))"
        )

    def fantasize(self, X: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises UnsupportedError."""
        raise UnsupportedError(
            "BNNModel cannot look ahead, as each imagined observation would need a fit of its own: use an acquisition "
            "function without fantasies, such as qLogExpectedImprovement or qLogNoisyExpectedImprovement"
        )


def _parts(fitted: Any) -> tuple[Posterior, StandardScaler | None, StandardScaler | None]:
    """The posterior, and how its x and y are scaled."""
    if isinstance(fitted, BNNRegressor):
        check_is_fitted(fitted)
        return fitted.posterior_, fitted.scaler_x_, fitted.scaler_y_
    if not isinstance(fitted, Posterior):
        raise TypeError(f"BNNModel needs a fitted BNNRegressor, or the Posterior of a BNN, got {type(fitted).__name__}")
    if not rows_alone(fitted.model) or fitted.rows[0].dim() != 2:
        raise TypeError("BNNModel needs the posterior of a BNN whose inputs are rows of numbers, [n, d]")
    return fitted, None, None


def _numbers(scaler: StandardScaler | None, name: str, otherwise: float) -> Tensor:
    """A fitted array of a scaler, or one number where it has none."""
    value = getattr(scaler, name, None)
    return torch.as_tensor(otherwise if value is None else value, dtype=torch.float64)
