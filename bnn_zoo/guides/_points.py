"""Sites that are points in a variational family."""

from __future__ import annotations

from typing import Any

from torch.distributions import Independent

from ..laws import LogUniform
from ..types import ModelError


def need_bounded(name: str, law: Any) -> None:
    """Raise ModelError for the point of a site whose prior density is infinite at 0: the ELBO has no maximum."""
    while isinstance(law, Independent):
        law = law.base_dist
    if isinstance(law, LogUniform):
        raise ModelError(
            f"site {name!r} would be a point under the log-uniform prior 1/|w|, which is infinite at 0: leave it random in "
            "MeanField, or give it another prior"
        )
