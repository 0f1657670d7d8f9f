"""What came of groups of chains that ran in processes of their own."""

from __future__ import annotations

import warnings
from typing import Any

from ._processes import Ended

Part = dict[str, Any] | str | Ended
"""Draws and counts of a group; or what it was told when it was interrupted; or how its process ended."""


def with_draws(parts: dict[range, Part], chains: int) -> dict[range, dict[str, Any]]:
    """The groups that came to their draws; others were still in warm-up, or their process was killed, which is said.

    Raises RuntimeError where processes ended and no group has draws, KeyboardInterrupt where all were interrupted.
    """
    made = {group: part for group, part in parts.items() if isinstance(part, dict)}
    lost = {group: part for group, part in parts.items() if isinstance(part, Ended)}
    remedy = "use fewer processes, or fewer chains"
    if not made:
        for group, how in lost.items():
            raise RuntimeError(f"the process with chains {_listed(group)} {how}, before there were draws: {remedy}")
        raise KeyboardInterrupt(next(part for part in parts.values() if isinstance(part, str)))
    left = sum(map(len, made))
    for group, how in lost.items():
        warnings.warn(
            f"chains {_listed(group)} of {chains} are lost, their process {how}; the draws of {left} chains are "
            f"returned: {remedy}",
            stacklevel=5,
        )
    waiting = chains - left - sum(map(len, lost))
    if waiting:
        warnings.warn(f"interrupted: {waiting} of {chains} chains were still in warm-up and are left out", stacklevel=5)
    return made


def _listed(chains: range) -> str:
    return ", ".join(map(str, chains))
