"""Draws that stream to a folder: groups ``posterior`` and ``sample_stats`` of Zarr arrays ``[chain, draw, *shape]``.

Zarr 3, xarray and ArviZ read it as it is. ``write`` touches chunks of the chains given and nothing that is shared, so
processes with chains of their own write at once. Draws first, then the state that names them: ``sync``, then
``Folder.write_state``; and where a run goes on, ``drop`` what no state names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from torch import Tensor

from ._array import DTYPES, Array
from ._disk import need_room, sync_file, sync_folder, told
from ._layout import (
    FORMAT,
    POSTERIOR,
    STATS,
    Variable,
    add_coordinate,
    add_variable,
    arrays_of,
    check,
    describe_groups,
    quoted,
)


class Store:
    """Draws on disk. ``sites`` and ``stats`` are ``{name: Array}``; ``store.sites["0.weight"][:, 5:9]`` reads four draws."""

    def __init__(self, path: Path, chains: int) -> None:
        self.path, self.chains = path, chains
        self.sites: dict[str, Array] = {}
        self.stats: dict[str, Array] = {}
        self._written: set[Path] = set()

    @classmethod
    def create(
        cls,
        path: str | PathLike[str],
        sites: Mapping[str, Variable],
        *,
        chains: int,
        draws: int,
        stats: Mapping[str, Variable] | None = None,
    ) -> Store:
        """A new store for so many draws of these sites. All of it is there at once, under its name, or nothing.

        Raises FileExistsError if there is something, OSError where it cannot be written or the disk has no room for the
        draws, ValueError for dtypes and dimensions that cannot be kept.
        """
        path = Path(fspath(path)).expanduser().absolute()
        if path.exists():
            raise FileExistsError(f"{path} exists: open it as a store, or choose another name")
        sized = [v for group in (sites, stats or {}) for v in group.values()]
        need_room(path, chains * draws * sum(prod(v.shape) * v.dtype.itemsize for v in sized))
        beside = path.with_name(f"{path.name}.tmp")
        with told(path, "cannot be made"):
            shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
            beside.mkdir(parents=True)
        try:
            for group, variables in ((POSTERIOR, sites), (STATS, stats or {})):
                (beside / group).mkdir()
                check(variables)
                add_coordinate(beside / group, "chain", chains)
                add_coordinate(beside / group, "draw", draws)
                for name, variable in variables.items():
                    (beside / group / quoted(name)).mkdir()  # fails for W and w where a disk takes them for one
                    add_variable(beside / group, name, variable, chains, draws)
            describe_groups(beside, chains)
            beside.rename(path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return cls.open(path)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Store:
        """The store of a run. Raises FileNotFoundError, ValueError for what is no store or of a later format."""
        path = Path(fspath(path)).expanduser().absolute()
        try:
            about = json.loads((path / "zarr.json").read_bytes())["attributes"]
            version, chains = int(about["bnn_zoo_store"]), int(about["chains"])
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{path} is no store of draws: expected a folder with zarr.json in it") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path / 'zarr.json'} is not what bnn_zoo writes for a store of draws: {error!r}") from None
        if version > FORMAT:
            raise ValueError(
                f"{path} has format {version}, and this version of bnn_zoo reads up to {FORMAT}: update bnn_zoo"
            )
        store = cls(path, chains)
        store.sites, store.stats = (arrays_of(path / group) for group in (POSTERIOR, STATS))
        return store

    @property
    def draws(self) -> int:
        """Draws of a chain that there is place for. How many of them are written, the states of the run know."""
        return min(array.shape[1] for array in self._arrays())

    def need_same(self, sites: Mapping[str, Variable], chains: int) -> None:
        """Raise ValueError unless the store holds these sites of so many chains."""
        held = {"number of chains": self.chains} | {n: (a.shape[2:], a.dtype.name) for n, a in self.sites.items()}
        given = {"number of chains": chains} | {n: (tuple(v.shape), DTYPES.get(v.dtype)) for n, v in sites.items()}
        odd = [k for k in dict.fromkeys([*held, *given]) if held.get(k) != given.get(k)]
        if odd:
            lines = "\n  ".join(f"{k}: expected {held.get(k, 'nothing')}, got {given.get(k, 'nothing')}" for k in odd)
            raise ValueError(f"{self.path} holds draws of other sites:\n  {lines}\nBegin another run in another folder")

    def add_stats(self, stats: Mapping[str, Variable]) -> None:
        """Make place for statistics that are not there yet. Several processes may do so at once, with the same ones."""
        draws = self.draws
        check(stats)
        for name, variable in stats.items():
            if name not in self.stats:
                with told(self.path, "cannot be written to"):
                    (self.path / STATS / quoted(name)).mkdir(exist_ok=True)
                add_variable(self.path / STATS, name, variable, self.chains, draws)
        describe_groups(self.path, self.chains)
        self.stats = arrays_of(self.path / STATS)

    def write(
        self, chains: range, start: int, sites: Mapping[str, Tensor], stats: Mapping[str, Tensor] | None = None
    ) -> None:
        """Draws ``{name: [chain, n, *shape]}`` of these chains, the first of them their draw number ``start``.

        They are on the disk after ``sync``. Raises ValueError, before any is written, for other names, shapes or dtypes;
        OSError where the disk is full: the draws before are as they were.
        """
        ready = []
        for group, values in ((self.sites, sites), (self.stats, stats or {})):
            for name, value in values.items():
                if name not in group:
                    raise ValueError(f"{self.path}: expected one of {sorted(group)}, got {name!r}")
                ready.append((group[name], self._fitting(group[name], value, chains, start)))
        for array, numbers in ready:
            for chain, draws in zip(chains, numbers, strict=True):
                self._written.update(array.put(chain, start, draws))

    def sync(self) -> None:
        """All that this process has written is on the disk at return."""
        with told(self.path, "cannot be written"):
            for path in sorted(self._written):
                with suppress(FileNotFoundError):  # dropped since
                    sync_file(path)
            for folder in {path.parent for path in self._written}:
                sync_folder(folder)
        self._written.clear()

    def drop(self, chains: range, draws: int) -> None:
        """Forget the draws of these chains from this number on; the place for them stays."""
        for array in self._arrays():
            self._written.update(array.erase(draws, chains))
        self.sync()

    def cut(self, draws: int) -> None:
        """Drop the draws from this number on, and the place for them. No other process may write at the time."""
        self._resize(lambda held: min(held, draws))

    def extend(self, draws: int) -> None:
        """Make place for so many draws of a chain in all. No other process may write at the time."""
        need_room(self.path, sum(max(draws - a.shape[1], 0) * self.chains * a.stride for a in self._arrays()))
        self._resize(lambda held: max(held, draws))

    def dataset(self, group: str = POSTERIOR) -> Any:
        """A group as an xarray.Dataset whose values are read when they are asked for.

        Variables have the names of sites, save those called like a dimension (``%63hain``). Raises ImportError without zarr.
        """
        try:
            import zarr  # noqa: F401
        except ImportError as error:
            raise ImportError('xarray reads stores through zarr: pip install "bnn-zoo[runs]"') from error
        import xarray

        found = xarray.open_dataset(self.path, group=group, engine="zarr", consolidated=False)
        return found.rename({n: unquote(str(n)) for n in found.data_vars if unquote(str(n)) not in {n, *found.dims}})

    def _arrays(self) -> list[Array]:
        return [*self.sites.values(), *self.stats.values()]

    def _resize(self, size: Callable[[int], int]) -> None:
        for array in self._arrays():
            self._written.update(array.resize(size(array.shape[1])))
        for group in (POSTERIOR, STATS):
            add_coordinate(self.path / group, "draw", self.draws)
        describe_groups(self.path, self.chains)
        self.sync()

    def _fitting(self, array: Array, value: Tensor, chains: range, start: int) -> np.ndarray:
        """The numbers to write. Raises ValueError where they have no place."""
        shape, kind = (len(chains), *value.shape[1:2], *array.shape[2:]), DTYPES.get(value.dtype, str(value.dtype))
        if tuple(value.shape) != shape or kind != array.dtype.name:
            expected = f"[{len(chains)}, n, {', '.join(map(str, array.shape[2:]))}] of {array.dtype.name}"
            raise ValueError(f"{array.name}: expected {expected}, got {list(value.shape)} of {kind}")
        if not (0 <= start <= start + value.shape[1] <= array.shape[1] and set(chains) <= set(range(self.chains))):
            raise ValueError(
                f"{array.name}: draws {start} to {start + value.shape[1] - 1} of {chains} have no place in a store of "
                f"{self.chains} chains of {array.shape[1]} draws: extend it first"
            )
        return np.ascontiguousarray(value.detach().cpu().numpy(), array.dtype)
