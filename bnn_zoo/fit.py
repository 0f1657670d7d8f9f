"""Run a backend, wrap what it returns; nothing else."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pyro.nn import PyroModule
from torch.utils.data import Dataset

from ._interrupt import gently
from ._random import whole_seed
from ._ranks import Ranks, Spread, here
from ._scope import alone
from .bnn import rows_alone
from .data import tensors
from .posterior import Posterior, check_exportable
from .run import Checkpoint
from .types import Backend, DataError, Draws, Model
from .verdict import judged


def fit(
    model: Model,
    data: Any,
    backend: Backend,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 5.0,
) -> Posterior:
    """Infer the latent sites of ``model`` from ``data`` with ``backend``.

    model
        a ``BNN`` or any other Pyro model.
    data
        the tuple of the model's positional arguments, such as ``(x, y)``, as tensors or numpy arrays; for SGLD and
        MeanField with ``batch_size`` also any torch Dataset of such tuples.
    backend
        settings with a ``run`` method: ``NUTS(chains=4)``, ``HMC()``, ``MeanField()``, ``SGLD()``, or your own.
    seed, device, progress
        same seed and machine, same draws; "cuda" or "cpu", by default where the data are; a progress bar.

    checkpoint, every
        a folder in which the run is kept, about every so many minutes and at its end: the same call goes on where it was,
        with the same draws as if nothing had happened, after Ctrl-C, a kill or a crash of the machine; one that had come to
        its end is read. Needs ``pip install "bnn-zoo[runs]"``.

    Under ``torchrun`` every process makes this call, with the same arguments. The chains are spread over the processes
    (rows of the data with ``RowsOverRanks``), and each returns the whole posterior: let one of them print and write. See
    docs/ranks.md.

    The caller's random state, Pyro parameter store and net are left as they were. Ctrl-C returns the draws made so far.
    Raises DataError and ModelError, which say what was expected, before any work starts.
    """
    if isinstance(backend, type) or not isinstance(backend, Backend):
        raise TypeError(f"fit needs a backend with its settings, such as NUTS(chains=4); got {backend!r}")
    if not callable(model):
        raise TypeError(f"fit needs a Pyro model, something to call, got {type(model).__name__}")
    if isinstance(model, torch.nn.Module) and not isinstance(model, PyroModule):
        raise TypeError(f"fit got the network {type(model).__name__} alone: write BNN(net, prior, likelihood)")
    seed = whole_seed(seed)
    ranks = here()
    device = ranks.place(device)
    rows = data if isinstance(data, Dataset) else tensors(data, device, finite=rows_alone(model))
    if rows_alone(model) and isinstance(rows, tuple):
        _check_pair(data, rows)
    check_exportable(model, rows)
    draws = _run(backend, model, rows, seed, device, progress, _kept(backend, checkpoint, every), ranks)
    path = None if checkpoint is None else Path(checkpoint).expanduser().absolute()
    with alone(), gently("the posterior is complete"), _heard_once(ranks):
        return judged(Posterior(model, rows, draws, path))


def _run(
    backend: Backend, model: Model, rows: Any, seed: int, device: Any, progress: bool, more: dict[str, Any], ranks: Ranks
) -> Draws:
    """Over ranks, where the backend can; else the first makes the draws and gives them to the others."""
    over = "ranks" in inspect.signature(backend.run).parameters
    if over and ranks.several:
        more = more | {"ranks": Spread(chains=ranks)}
    made: Draws | None = None
    if over or ranks.rank == 0:
        made = backend.run(model, rows, seed=seed, device=device, progress=progress and ranks.rank == 0, **more)
    if over or not ranks.several:
        assert made is not None
        return made
    tree = made and {name: dict(getattr(made, name)) for name in ("sites", "stats", "history", "attrs")}
    return Draws(**ranks.tree_of_first(tree))


@contextmanager
def _heard_once(ranks: Ranks) -> Iterator[None]:
    """Inside, only the first rank warns: all would say the same."""
    with warnings.catch_warnings():
        if ranks.rank:
            warnings.simplefilter("ignore")
        yield


def _kept(backend: Backend, checkpoint: Any, every: float) -> dict[str, Checkpoint]:
    """The argument that says where a run is kept, if it is."""
    if checkpoint is None:
        return {}
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint must be the name of a folder, got {checkpoint!r}")
    if isinstance(every, bool) or not isinstance(every, int | float) or not every >= 0:
        raise ValueError(f"every must be a number of minutes, 0 (after each step) or more, got {every!r}")
    if "checkpoint" not in inspect.signature(backend.run).parameters:
        raise TypeError(f"{type(backend).__name__}.run takes no checkpoint: leave it out, or use a backend of bnn_zoo")
    return {"checkpoint": Checkpoint(checkpoint, every)}


def _check_pair(data: Any, rows: tuple[Any, ...]) -> None:
    """A BNN is fitted to x and y. Raises DataError."""
    if len(rows) == 1 or (len(rows) == 2 and rows[1] is None):
        what = "missing from the data" if len(rows) == 1 else "None"
        raise DataError(f"a BNN is fitted to (x, y), and y is {what}: it would be drawn from the prior")
    if len(rows) > 2:
        raise DataError(f"a BNN is fitted to (x, y), got {len(rows)} arguments: put all features into x, targets into y")
    if len(rows) == 2 and isinstance(data[1], pd.DataFrame) and data[1].shape[1] == 1:
        column = data[1].columns[0]
        raise DataError(f"y is a table of one column, and a BNN wants the column itself: write y[{column!r}]")
