"""A law without checks of its arguments and values."""

from __future__ import annotations

import copy
from typing import Any


def unvalidated(law: Any) -> Any:
    """``law``, or a copy of it that checks nothing, wrapped laws included, where it was made with validation on."""
    inner = getattr(law, "base_dist", None)
    new = inner if inner is None else unvalidated(inner)
    if new is inner and not getattr(law, "_validate_args", False):
        return law
    law = copy.copy(law)
    law._validate_args = False
    if new is not inner:
        law.base_dist = new
    return law
