"""Names: which sites can be exported, and what the rows of their data are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..types import ModelError

RESERVED = ("chain", "draw", "sample")
KERNEL_AXES = {3: ("k",), 4: ("kh", "kw"), 5: ("kd", "kh", "kw")}


def weight_dims(name: str, shape: Sequence[int]) -> list[str]:
    """Dimension names of a site named after a torch parameter, one per axis, always prefixed by the site.

    A weight of 2 axes has out and in; a convolution's 3, 4, 5 axes are out, in, then k, or kh and kw, or kd, kh and kw;
    the one axis of a weight or bias is out; anything else is ``{name}_dim_{i}``, ArviZ's own default.
    """
    axes = len(shape)
    if axes == 1 and name.endswith(("weight", "bias")):
        return [f"{name}_out"]
    if name.endswith("weight") and (axes == 2 or axes in KERNEL_AXES):
        return [f"{name}_{axis}" for axis in ("out", "in", *KERNEL_AXES.get(axes, ()))]
    return [f"{name}_dim_{i}" for i in range(axes)]


def check_names(posterior: Mapping[str, Sequence[int]], data: Mapping[str, Sequence[int]]) -> None:
    """Raise ModelError for names of sites that cannot be exported; values are shapes.

    ``posterior`` are the latent and deterministic sites, ``data`` the observed ones. A name is a variable of a netCDF group:
    not empty, without "/", no name of a dimension in its group, and no observed site is called like another's mean.
    """
    for name in (*posterior, *data):
        if not name or "/" in name:
            better = name.replace("/", ".") or "site"
            raise ModelError(
                f"site {name!r} cannot be exported under its name, which must have a letter and no '/': call it {better!r}"
            )
        if name in RESERVED:
            raise ModelError(f"site {name!r} has the name of a dimension of all draws: call it {name + '_'!r}")
    dims = {dim: name for name, shape in posterior.items() for dim in weight_dims(name, shape)}
    rows = {f"{name}_{end}": name for name in data for end in ("obs_id", "pred_id", "cell", "mean", "mean_dim_0")}
    rows |= {f"{name}_dim_{i}": name for name, shape in data.items() for i in range(len(shape))}
    rows |= dict.fromkeys(("obs_id", "pred_id"), "all rows")
    for names, taken in ((posterior, dims), (data, rows)):
        for name in names:
            if name in taken:
                raise ModelError(
                    f"site {name!r} has the name that {taken[name]!r} needs for its own export: call it {name + '_site'!r}"
                )


def axis_names(name: str, shape: Sequence[int], first: str | None = None) -> list[str]:
    """``{name}_dim_{i}`` for each axis; the first one is called ``first`` if that is given."""
    names = [f"{name}_dim_{i}" for i in range(len(shape))]
    return [first, *names[1:]] if first and names else names


def row_count(observed: Iterable[Sequence[int]], others: Iterable[Sequence[int]]) -> int:
    """The number of rows of a set of data: the first length of the first observed site; 0 where all are scalars.

    Without one, the most common first length of the ``others``.
    """
    lengths = [shape[0] for shape in observed if len(shape)][:1] or [shape[0] for shape in others if len(shape)]
    return max(lengths, key=lengths.count, default=0)


def row_names(
    seen: Mapping[str, np.ndarray], count: int, row: str, labels: Any = None
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """``({site: name of its first axis}, {name: labels})`` where hidden rows or cells of observed sites are left out.

    ``seen``: ``{site: [*batch]}``. Sites with all of the ``count`` rows, and sites that all hide the same ones, have the
    axis ``row``, in the latter case with the numbers (or ``labels``) of the rows that are left. Sites that hide others have
    an axis of their own, ``{site}_{row}``; where single cells are hidden the axis is ``{site}_cell``, numbered row by row.
    """
    names: dict[str, str] = {}
    coords: dict[str, np.ndarray] = {}
    whole = {site: mask for site, mask in seen.items() if mask.ndim and len(mask) == count and mask.any()}
    alike = len({mask.reshape(count, -1).all(1).tobytes() for mask in whole.values()}) < 2
    for site, mask in seen.items():
        if not mask.ndim or not mask.any():
            continue
        flat = mask.reshape(len(mask), -1)
        if (flat.any(1) != flat.all(1)).any():
            names[site] = f"{site}_cell"
            coords[names[site]] = np.flatnonzero(mask)
        elif mask.all():
            names[site] = row if site in whole else f"{site}_dim_0"
        else:
            names[site] = row if site in whole and alike else f"{site}_{row}"
            kept = np.flatnonzero(flat.all(1))
            coords[names[site]] = np.asarray(labels)[kept] if labels is not None and site in whole else kept
    return names, coords
