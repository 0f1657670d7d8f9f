"""How each row of ``compression.py`` is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bnn_zoo as bz

LEARNT = 8
"""Components of soft weight sharing besides the one at zero."""


@dataclass(frozen=True)
class Recipe:
    """How a row of the table is made: a run of so many epochs at a learning rate that falls to 0, then as many more as
    ``again`` has numbers, each on what the run before has left; ``temperatures``, the weight of the divergence from the
    prior in each run; then pruning and rounding by ``rules``."""

    epochs: float
    rate: float
    rules: tuple[Any, Any]
    temperatures: tuple[float, ...] = (1.0,)
    again: tuple[float, ...] = ()


def signal(ratio: float, fluctuation: float) -> tuple[Any, Any]:
    return bz.compression.SignalToNoise(ratio), bz.compression.FixedPoint(fluctuation)


METHODS = ("magnitude", "sws", "svd", "gnj", "ghs")
MAGNITUDE = Recipe(0, 0.0, (bz.compression.Magnitude(0.08, each=True), bz.compression.Levels(6)))
SHARED_WEIGHTS = (bz.compression.everything, bz.compression.Clusters())
RECIPES = {
    ("lenet300", "sws"): Recipe(15, 2e-3, SHARED_WEIGHTS, (0.02,)),
    ("lenet300", "svd"): Recipe(30, 1e-3, signal(0.25, 0.85)),
    ("lenet300", "gnj"): Recipe(40, 1e-2, signal(0.5, 1.0), (0.2,)),
    ("lenet300", "ghs"): Recipe(40, 1e-2, signal(0.5, 1.0), (0.2,)),
    ("lenet5", "sws"): Recipe(8, 2e-3, SHARED_WEIGHTS, (0.025,)),
    ("lenet5", "svd"): Recipe(12, 2e-3, signal(0.5, 0.7), temperatures=(1.0, 1.0), again=(20,)),
    ("lenet5", "gnj"): Recipe(14, 1e-2, signal(1.0, 1.25), (1.0, 0.5, 0.5), (12, 20)),
    ("lenet5", "ghs"): Recipe(14, 1e-2, signal(1.0, 1.5), (1.0, 0.5, 0.5), (12, 20)),
    ("vgg", "svd"): Recipe(8, 1e-3, signal(0.22, 1.0)),
}
"""Sparse variational dropout's ``log α > 3`` is a ratio of .22; docs/compression.md says how the others were chosen.
That of VGG takes a quarter of an hour of one core, and is far from trained."""
PRETRAINED = {"lenet300": 10, "lenet5": 5, "vgg": 8}
"""Epochs of the network that all methods begin at."""
PRUNE = {"svd": bz.compression.SignalToNoise(0.22)} | dict.fromkeys(("gnj", "ghs"), bz.compression.SignalToNoise(0.5))
"""Between two runs."""


def recipe(net: str, method: str) -> Recipe | None:
    """None where there is none."""
    return MAGNITUDE if method == "magnitude" else RECIPES.get((net, method))
