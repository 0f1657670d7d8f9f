"""What is done with a run that is kept in a folder: read its posterior, go on with it, make it longer."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import torch
from torch.utils.data import Dataset

from ._scope import alone
from .backends._chains import FullBatch
from .backends._kept import draws_so_far, need_run_of, plain
from .backends._rebuilt import longer, rebuilt
from .backends._rows import density_of, rows_and_density
from .bnn import rows_alone
from .data import tensors
from .density import LogJoint
from .fit import fit
from .posterior import Posterior
from .run import Folder, Store
from .run.keeper import STORE
from .types import Backend, Draws, Model

Path = str | os.PathLike[str]


def resume(
    path: Path, model: Model, data: Any, backend: Backend | None = None, *, every: float = 5.0, progress: bool = True
) -> Posterior:
    """Go on with the run in this folder, to its end: the same draws as if it had never been broken off.

    Settings and seed are those that the folder tells. ``backend`` is needed where one of them is a function or an object of
    your own (a schedule, a start rule, a guide), and must be the run's. ``every`` is as in ``fit``.
    Raises FileNotFoundError where there is no run, ValueError where model, data or backend are not the run's.
    """
    about = Folder.open(path).about
    chosen = rebuilt(about) if backend is None else backend
    return fit(
        model,
        data,
        chosen,
        seed=about["seed"],
        device=_device(about, data),
        progress=progress,
        checkpoint=path,
        every=every,
    )


def _device(about: dict[str, Any], data: Any) -> str | None:
    """That of the run, unless the data are there already."""
    there = {t.device.type for t in data if isinstance(t, torch.Tensor)} if isinstance(data, tuple | list) else set()
    return None if about["device"] in there else str(about["device"])


@alone()
def read(path: Path, model: Model, data: Any) -> tuple[Any, Draws]:
    """The data as the model takes them, and the draws that the run has so far."""
    folder = Folder.open(path)
    rows = data if isinstance(data, Dataset) else tensors(data, finite=rows_alone(model))
    need_run_of(folder, _density(folder.about, model, rows), rows)
    return rows, draws_so_far(folder)


def _density(about: dict[str, Any], model: Model, rows: Any) -> LogJoint:
    """The log joint as the run has it."""
    settings = about["settings"]
    if settings.get("batch_size") is not None:
        return rows_and_density(model, rows, batch_size=settings["batch_size"], chains=1, seed=about["seed"], device=None)[0]
    return density_of(model, rows, row_chunk=settings.get("row_chunk"))


def extend(path: Path, model: Model, data: Any, draws: int, backend: Backend | None, progress: bool) -> Posterior:
    """``draws`` more of each chain. The store is made longer first, then the settings in the folder: killed between the two,
    the run is as it was, and killed later it goes on as the longer one."""
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"extend makes draws ≥ 1 more of each chain, got draws={draws!r}")
    folder = Folder.open(path)
    old = rebuilt(folder.about) if backend is None else backend
    settings = {f.name: plain(getattr(old, f.name)) for f in fields(old)}  # type: ignore[arg-type]
    folder.need_same(folder.about | {"backend": type(old).__name__, "settings": settings})
    new = longer(old, draws)
    if isinstance(old, FullBatch) and old.compile is None:
        _need_same_compiling(folder.about, old, new, model, data)
    with folder.locked():
        store = Store.open(folder.path / STORE)
        store.extend(new.drawn if not isinstance(new, FullBatch) else new.draws)
        settings = {f.name: plain(getattr(new, f.name)) for f in fields(new)}
        folder.rewrite(folder.about | {"settings": settings})
    return resume(path, model, data, new, progress=progress)


@alone()
def _need_same_compiling(about: dict[str, Any], old: FullBatch, new: FullBatch, model: Model, data: Any) -> None:
    log_joint = density_of(model, data, row_chunk=old.row_chunk, device=about["device"])
    first = -(-old.chains // int(about["recorded"]["processes"]))
    if old._pays(log_joint, first) != new._pays(log_joint, first):
        raise ValueError(
            f"{type(old).__name__}: compile=None compiles a run of so many draws from its beginning, and this one was not "
            "compiled: its draws would be others in their last bits. Make fewer more, or begin with compile=True or False"
        )
