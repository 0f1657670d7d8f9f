"""From arrays to ArviZ: containers, files, leave-one-out comparison. The only room besides plots that imports ArviZ."""

from .container import arviz_major, group, groups, to_inference_data, weight_dims
from .files import load, save, target_path
from .loo import COMPARE_COLUMNS, compare, loo

__all__ = [
    "COMPARE_COLUMNS",
    "arviz_major",
    "compare",
    "group",
    "groups",
    "load",
    "loo",
    "save",
    "target_path",
    "to_inference_data",
    "weight_dims",
]
