"""A law without checks of its arguments and values."""

from __future__ import annotations

import copy
from typing import Any

from torch.distributions import Distribution


def unvalidated(law: Any) -> Any:
    """``law``, or a copy of it that checks nothing where it was made with validation on.

    So are the laws that it is made of: the base of a transformed law, the parts of a mixture, the Dirichlet in a Beta.
    """
    parts = {name: part for name, part in vars(law).items() if isinstance(part, Distribution)}
    new = {name: unvalidated(part) for name, part in parts.items()}
    if not getattr(law, "_validate_args", False) and all(new[name] is part for name, part in parts.items()):
        return law
    law = copy.copy(law)
    law._validate_args = False
    vars(law).update(new)
    return law
