"""What a store looks like on disk: a folder with ``zarr.json`` for each group, variable and coordinate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ._array import DTYPES, Array
from ._disk import write_whole

FORMAT = 1
"""Of stores; a new number for whatever this version could not read."""
POSTERIOR, STATS = "posterior", "sample_stats"
CHUNK = 2**23
"""At most so many bytes a chunk, unless one draw has more."""
LEAST = 2**16
"""Chunks may have so many bytes also where the run has fewer draws, which may become more."""
COORDINATES = 2**14
"""Numbers of draws a chunk of the coordinate ``draw``; a chunk is written whole, so that more draws change none."""


class Variable(NamedTuple):
    """A variable of a store: shape and dtype of one draw of one chain; names of the shape's dimensions, if it has any."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    dims: tuple[str, ...] | None = None


def quoted(name: str) -> str:
    """The folder of a variable: its name, with what is special in paths or to Zarr as %2F; ``unquote`` gives the name."""
    name = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda found: f"%{ord(found[0]):02X}", name)
    special = name in ("chain", "draw", "zarr.json") or name.startswith("__") or not name.strip(".")
    return f"%{ord(name[0]):02X}{name[1:]}" if special else name


def check(variables: Mapping[str, Variable]) -> None:
    """Raise ValueError for variables that cannot be kept in one group."""
    sizes: dict[str, int] = {}
    for name, variable in variables.items():
        if variable.dtype not in DTYPES or not name:
            raise ValueError(f"{name!r}: {variable.dtype} cannot be kept; expected one of {', '.join(DTYPES.values())}")
        dims = _dims(name, variable)
        if len(dims) != len(variable.shape):
            raise ValueError(f"{name}: expected a name for each dimension of {list(variable.shape)}, got {dims}")
        for dim, size in zip(dims, variable.shape, strict=True):
            if sizes.setdefault(dim, size) != size or dim in {"chain", "draw", *variables}:
                raise ValueError(
                    f"{name}: its dimension {dim!r} of length {size} is called like another, or like a variable"
                )


def _dims(name: str, variable: Variable) -> tuple[str, ...]:
    return variable.dims if variable.dims is not None else tuple(f"{name}_dim_{i}" for i in range(len(variable.shape)))


def add_variable(group: Path, name: str, variable: Variable, chains: int, draws: int) -> None:
    """The description of a variable; its folder is there."""
    size = max(prod(variable.shape) * variable.dtype.itemsize, 1)
    rows = max(min(CHUNK // size, max(draws, LEAST // size)), 1)
    dims = ["chain", "draw", *map(quoted, _dims(name, variable))]
    chunks = [1, rows, *(max(n, 1) for n in variable.shape)]
    description = _description([chains, draws, *variable.shape], chunks, DTYPES[variable.dtype], dims, name)
    write_whole(group / quoted(name) / "zarr.json", json.dumps(description).encode())


def add_coordinate(group: Path, name: str, size: int) -> None:
    """The numbers from 0 to ``size`` − 1 of ``chain`` or ``draw``."""
    folder = group / name
    folder.mkdir(exist_ok=True)
    chunk = COORDINATES if name == "draw" else max(size, 1)
    for number in range(-(-size // chunk)):
        if not (folder / f"c.{number}").exists():
            write_whole(folder / f"c.{number}", np.arange(number * chunk, (number + 1) * chunk, dtype="<i8"))
    description = _description([size], [chunk], "int64", [name], name)
    write_whole(folder / "zarr.json", json.dumps(description).encode())


def _described(group: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each array of a group, and what its ``zarr.json`` says."""
    for file in sorted(group.glob("*/zarr.json")):
        yield file.parent, json.loads(file.read_bytes())


def arrays_of(group: Path) -> dict[str, Array]:
    """The variables, without coordinates."""
    arrays = (Array.of(folder, found) for folder, found in _described(group) if len(found["shape"]) > 1)
    return {array.name: array for array in arrays}


def describe_groups(path: Path, chains: int) -> None:
    """The ``zarr.json`` of the groups, which repeat those of their arrays, as zarr and xarray like it."""

    def write(folder: Path, attributes: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        inner = {"kind": "inline", "must_understand": False, "metadata": members}
        write_whole(folder / "zarr.json", json.dumps(group | {"consolidated_metadata": inner}).encode())
        return group

    members = {}
    for group in (POSTERIOR, STATS):
        arrays = {folder.name: found for folder, found in _described(path / group)}
        members[group] = write(path / group, {}, arrays)
        members |= {f"{group}/{name}": found for name, found in arrays.items()}
    write(path, {"bnn_zoo_store": FORMAT, "chains": chains}, members)


def _description(shape: Sequence[int], chunks: Sequence[int], dtype: str, dims: Sequence[str], name: str) -> dict[str, Any]:
    """The ``zarr.json`` of an array. What was never written reads as nan, 0 or False."""
    fill: Any = "NaN" if dtype.startswith("float") else dtype != "bool" and 0
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "fill_value": fill,
        "attributes": {"name": name},
        "dimension_names": list(dims),
        "storage_transformers": [],
    }
