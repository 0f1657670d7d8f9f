"""Normal prior with correlations between units and between inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch

from ..laws import KroneckerNormal
from ..types import ModelError
from .scale import Law, resolve


@dataclass(frozen=True)
class MatrixNormal(Law):
    """``W ~ MN(0, scale² U, V)``: the covariance of ``w_ij`` and ``w_kl`` is ``scale² U_ik V_jl``. Louizos & Welling 2016.

    rows, columns
        U ``[out, out]`` and V ``[in, in]`` as arrays, tensors or nested lists, symmetric and positive definite; None is the
        identity, and with both None, as in that paper's prior, weights are independent. For convolutions the columns are
        ``in·kh·kw``; a bias ``[out]`` is a matrix of one column.

    Raises ModelError for a weight that they do not fit: choose by name, ``PerSite({"0.weight": MatrixNormal(…), "*": …})``.
    """

    rows: Any = None
    columns: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _factor(self.rows, "rows")
        _factor(self.columns, "columns")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        scale = torch.as_tensor(resolve(self.scale, name, shape)).expand(shape)
        matrix = (shape[:1].numel(), math.prod(shape[1:]))
        factors = []
        for what, given, count in zip(("rows", "columns"), (self.rows, self.columns), matrix, strict=True):
            factor = _factor(given, what)
            if factor is not None and len(factor) != count:
                raise ModelError(
                    f"site {name!r}: MatrixNormal's {what} must be {count} × {count} for a weight of shape {tuple(shape)}, "
                    f"got {len(factor)} × {len(factor)}; for several weights use PerSite"
                )
            factors.append(None if factor is None else torch.as_tensor(factor).to(scale))
        if factors == [None, None]:
            return dist.Normal(0.0, scale).to_event(len(shape))
        return KroneckerNormal(scale, *factors)


def _factor(given: Any, what: str) -> np.ndarray | None:
    """The lower triangular factor of a covariance matrix. Raises ValueError where it is none."""
    if given is None:
        return None
    matrix = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"MatrixNormal: {what} must be a symmetric matrix, got an array of shape {list(matrix.shape)}")
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError(f"MatrixNormal: {what} must be positive definite: all its eigenvalues > 0") from None
