"""Doors from other libraries: scikit-learn estimators, and a BoTorch model made from posterior draws.

``pip install "bnn-zoo[sklearn]"`` for ``BNNRegressor`` and ``BNNClassifier``; ``"bnn-zoo[botorch]"`` for ``BNNModel``.
"""

from typing import Any

try:
    from sklearn.utils.validation import validate_data as validate_data
except ImportError as error:
    raise ImportError(
        'bnn_zoo.estimators needs scikit-learn 1.6 or later: pip install "bnn-zoo[sklearn]"', name="sklearn"
    ) from error

from .classifier import BNNClassifier
from .regressor import BNNRegressor

__all__ = ["BNNClassifier", "BNNModel", "BNNRegressor"]


def __getattr__(name: str) -> Any:
    """``BNNModel``, only when it is asked for: who fits an estimator need not have BoTorch."""
    if name != "BNNModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .ensemble import BNNModel
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("botorch", "gpytorch", "linear_operator"):
            raise
        raise ImportError('BNNModel needs BoTorch: pip install "bnn-zoo[botorch]"', name="botorch") from error
    return BNNModel
