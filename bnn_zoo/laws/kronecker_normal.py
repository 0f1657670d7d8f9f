"""Normal weights with correlations along one or two groups of axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class KroneckerNormal(TorchDistribution):
    """``w = scale ∘ (A Z Bᵀ)`` reshaped to the scale's shape, with Z ``[n, m]`` of independent standard normals.

    So for scale 1 the covariance is ``(A Aᵀ) ⊗ (B Bᵀ)`` over w flattened, the matrix normal law of Dawid 1981.

    scale
        standard deviations where A Aᵀ and B Bᵀ are correlations, in the shape of the weight: the event of this law.
    rows, columns
        lower triangular factors A ``[n, n]`` and B ``[m, m]``; None for the identity. n·m is the number of weights.
    """

    arg_constraints = {"scale": constraints.positive}
    has_rsample = True

    def __init__(self, scale: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        self.scale, self.rows, self.columns = scale, rows, columns
        n = 1 if rows is None else len(rows)
        m = scale.numel() // n if columns is None else len(columns)
        self.matrix = torch.Size([scale.numel() // m if rows is None else n, m])
        if self.matrix.numel() != scale.numel():
            raise ValueError(f"{scale.numel()} weights are no matrix of {n} × {m}")
        super().__init__(torch.Size(), scale.shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        n, m = self.matrix
        row, column = (
            self.scale.new_ones(count) if factor is None else factor.square().sum(-1)
            for factor, count in ((self.rows, n), (self.columns, m))
        )
        return self.scale.square() * torch.outer(row, column).reshape(self.scale.shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        z = torch.randn(*shape, *self.matrix, dtype=self.scale.dtype, device=self.scale.device)
        z = z if self.rows is None else self.rows @ z
        z = z if self.columns is None else z @ self.columns.mT
        return self.scale * z.reshape(shape + self.scale.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = value.shape[: value.dim() - self.scale.dim()]
        z, (n, m) = (value / self.scale).reshape(lead + self.matrix), self.matrix
        constant = -self.scale.log().sum() - 0.5 * n * m * math.log(2.0 * math.pi)
        if self.rows is not None:
            z = torch.linalg.solve_triangular(self.rows, z, upper=False)
            constant = constant - m * self.rows.diagonal().log().sum()
        if self.columns is not None:
            z = torch.linalg.solve_triangular(self.columns, z.mT, upper=False).mT
            constant = constant - n * self.columns.diagonal().log().sum()
        return constant - 0.5 * z.square().sum((-2, -1))
