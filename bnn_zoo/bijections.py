"""Bijections from the real line to a support, each with its log-Jacobian and without idle dimensions.

Torch and Pyro have most of them. Missing there, and written here: lower-triangular matrices and positive-definite
matrices, for which torch has maps without a Jacobian that leave the upper triangle unused.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions  # noqa: F401  (registers the bijections of Pyro's own supports)
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import ComposeTransform, Transform

from ._torch import Independent


def bijection(support: Any) -> Transform:
    """The bijection whose image is ``support``. Raises NotImplementedError where there is none (discrete supports)."""
    support = _of_parts(support)
    inner = support
    while isinstance(inner, Independent):
        inner = inner.base_constraint
    if inner is constraints.lower_cholesky:
        return LowerCholesky()
    if inner is constraints.positive_definite:
        return ComposeTransform([LowerCholesky(), CholeskyProduct()])
    return biject_to(support)


def _of_parts(support: Any) -> Any:
    """The support of a mixture is that of its parts, where those have no bounds of their own; else as it was."""
    if isinstance(support, Independent):
        base = _of_parts(support.base_constraint)
        same = base is support.base_constraint
        return support if same else constraints.independent(base, support.reinterpreted_batch_ndims)
    kind = getattr(constraints, "MixtureSameFamilyConstraint", None)  # torch 2.6 gives the parts' support itself
    if kind is None or not isinstance(support, kind):
        return support
    base = support.base_constraint
    bounds_of_each = any(isinstance(v, Tensor) and v.dim() > 0 for v in vars(base).values())
    return support if bounds_of_each else _of_parts(base)


def _size(length: int) -> int:
    """n of an n × n triangle with ``length = n(n+1)/2`` entries."""
    return round((8 * length + 1) ** 0.5 - 1) // 2


class LowerCholesky(Transform):
    """Vector of n(n+1)/2 to a lower-triangular n × n matrix: first the n log-diagonals, then the rest row by row."""

    domain = constraints.real_vector
    codomain = constraints.lower_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        n = _size(x.shape[-1])
        # a selection matrix instead of an indexed write: the same under vmap, tracing and double backward
        rows, cols = torch.tril_indices(n, n, -1, device=x.device)
        place = torch.zeros(len(rows), n * n, dtype=x.dtype, device=x.device)
        place[torch.arange(len(rows), device=x.device), rows * n + cols] = 1.0
        strict = (x[..., n:] @ place).reshape(*x.shape[:-1], n, n)
        return strict + torch.diag_embed(x[..., :n].exp())

    def _inverse(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        rows, cols = torch.tril_indices(n, n, -1, device=y.device)
        return torch.cat([y.diagonal(dim1=-2, dim2=-1).log(), y[..., rows, cols]], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x[..., : y.shape[-1]].sum(-1)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        n = _size(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        n = shape[-1]
        return (*shape[:-2], n * (n + 1) // 2)


class CholeskyProduct(Transform):
    """``L ↦ L Lᵀ`` from lower-triangular to positive-definite: ``|J| = 2ⁿ ∏_i L_ii^(n−i+1)``, i = 1 … n. Muirhead 1982."""

    domain = constraints.lower_cholesky
    codomain = constraints.positive_definite
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x @ x.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.linalg.cholesky(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        n = x.shape[-1]
        power = torch.arange(n, 0, -1, dtype=x.dtype, device=x.device)
        return n * math.log(2.0) + (power * x.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
