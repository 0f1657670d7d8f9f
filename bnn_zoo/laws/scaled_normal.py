"""Normals times a random scale, as a law that knows its scale."""

from __future__ import annotations

from typing import Any

from pyro import distributions as dist
from torch import Tensor


class ScaledNormal(dist.Normal):
    """``N(z m, (z s)²)`` for a draw z of ``scale_law``, with m, s and that law: a layer can draw z anew for each row.

    ``standard`` is N(m, s²). As a distribution it is the normal at this z.
    """

    def __init__(self, standard: Any, z: Tensor, scale_law: Any) -> None:
        self.standard, self.scale_law = standard, scale_law
        super().__init__(standard.loc * z, standard.scale * z, validate_args=False)
