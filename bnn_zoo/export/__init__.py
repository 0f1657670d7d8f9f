"""From arrays to ArviZ: containers, files, leave-one-out comparison. The only room besides plots that imports ArviZ."""

from .container import arviz_major, group, groups, to_inference_data
from .files import load, save, target_path
from .loo import COMPARE_COLUMNS, compare, loo
from .names import axis_names, check_names, row_count, row_names, weight_dims

__all__ = [
    "COMPARE_COLUMNS",
    "arviz_major",
    "axis_names",
    "check_names",
    "compare",
    "group",
    "groups",
    "load",
    "loo",
    "row_count",
    "row_names",
    "save",
    "target_path",
    "to_inference_data",
    "weight_dims",
]
