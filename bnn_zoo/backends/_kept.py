"""A run in a folder of its own: what the folder says of it, and whether what is asked for now is that run."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._interrupt import ending
from .._random import whole_seed
from .._ranks import ONE, Ranks
from ..data import Workers, exposed
from ..density import LogJoint
from ..run.checkpoint import Folder
from ..run.keeper import RESULT, STORE, Checkpoint, Keeper
from ..run.store import Store, Variable
from ..types import Draws
from ._draws import stored

KNOWN = {"bnn_zoo", "torch", "pyro", "functools", "contextlib"}
"""Packages whose functions and objects are known by their names alone."""
TOLERANCE = 1e-4
"""Relative difference of log joints at one point from which they are those of different models."""


@contextmanager
def keeping(
    checkpoint: Checkpoint | None,
    settings: Any,
    log_joint: LogJoint,
    data: Any,
    seed: int,
    draws: int,
    ranks: Ranks = ONE,
    **recorded: Any,
) -> Iterator[Keeper | None]:
    """The folder of this run, locked, made anew or the one that is there; None without ``checkpoint``.

    ``recorded`` are numbers that belong to the run though nobody may have asked for them, such as that of processes: those
    of the run that is there stand in ``keeper.folder.about``. Raises ValueError where it is the run of another model, other
    data or settings, with expected and got, and OSError where it cannot be written. Of several ``ranks`` the first makes
    and locks the folder, and the others find it there.
    """
    if checkpoint is None:
        yield None
        return
    about = about_run(settings, log_joint, data, seed)
    if ranks.several:  # others may see other rows in their first minibatch
        about["model"]["log joint"] = ranks.tree_of_first(about["model"]["log joint"])
    if ranks.rank:
        ranks.wait()
    try:
        folder = Folder.open(checkpoint.path)
    except FileNotFoundError:
        folder = Folder.create(checkpoint.path, about | {"recorded": recorded})
    with nullcontext() if ranks.rank else folder.locked(), ending():
        held = folder.about.get("recorded", {})
        near = _near(folder.about, about)
        folder.need_same(about | {"recorded": held} | near, tell=("versions",))
        _need_ranks(folder, held, recorded)
        keeper = Keeper(folder, 60.0 * checkpoint.every)
        variables = {site.name: Variable(tuple(site.shape), log_joint.dtype) for site in log_joint.sites}
        keeper.open_store(variables, settings.chains, draws)
        if not ranks.rank:
            ranks.wait()
        yield keeper


def _need_ranks(folder: Folder, held: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Raise ValueError unless chains and rows are spread over as many ranks as when the run began."""
    for name, what in {"chain_ranks": "chains are", "row_ranks": "rows are"}.items():
        old, new = held.get(name, 1), recorded.get(name, 1)
        if old != new:
            raise ValueError(
                f"{folder.path} holds a run whose {what} spread over other ranks: expected {old}, got {new}. Start it with "
                f"torchrun and {old} processes in all, or begin another run in another folder"
            )


def about_run(settings: Any, log_joint: LogJoint, data: Any, seed: int) -> dict[str, Any]:
    """What a run is, as plain data: backend, settings, seed, model, data, versions."""
    return {
        "backend": type(settings).__name__,
        "settings": {f.name: plain(getattr(settings, f.name)) for f in fields(settings)},
        "seed": whole_seed(seed),
        "device": log_joint.device.type,
        "model": about_model(log_joint),
        "data": _hashed(data),
        "versions": {name: version(name) for name in ("torch", "pyro-ppl", "bnn-zoo")},
    }


def about_model(log_joint: LogJoint) -> dict[str, Any]:
    return {
        "dtype": str(log_joint.dtype).removeprefix("torch."),
        "sites": {site.name: list(site.shape) for site in log_joint.sites},
        "log joint": _log_joint(log_joint),
    }


def plain(value: Any) -> Any:
    """A setting as JSON; functions and objects as their texts, without addresses, which change."""
    if value is None or isinstance(value, bool | int | float | str):
        return value if not isinstance(value, float) or math.isfinite(value) else repr(value)
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    text = re.sub(r" at 0x[0-9a-f]+", "", getattr(value, "__qualname__", repr(value)))
    module = getattr(value, "__module__", None) or type(value).__module__
    return text if module.split(".")[0] in KNOWN else f"{text} of another package"


def _log_joint(log_joint: LogJoint) -> float:
    """At one point away from symmetries: prior, likelihood and data all enter."""
    at = 0.1 * torch.sin(torch.arange(1.0, log_joint.dim + 1, dtype=torch.float64)).to(log_joint.device, log_joint.dtype)
    before = log_joint.evaluations
    rows = tuple(a[None] for a in log_joint.args if isinstance(a, Tensor)) if log_joint.rows_per_chain else ()
    value, _ = log_joint(at[None], *rows)
    log_joint.evaluations = before
    return float(value)


def _near(held: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """``model`` of ``about`` with the log joint that is held, if both are the same up to rounding on another machine."""
    model = about["model"]
    try:
        old, new = float(held["model"]["log joint"]), float(model["log joint"])
    except (KeyError, TypeError, ValueError):
        return {}
    same = abs(old - new) <= TOLERANCE * max(1.0, abs(old)) or (math.isnan(old) and math.isnan(new))
    return {"model": model | {"log joint": held["model"]["log joint"]}} if same else {}


def _hashed(data: Any) -> str:
    """Of the data's numbers. Of a torch Dataset, of the columns that it shows, and of how many items it has."""
    digest = hashlib.blake2b(digest_size=16)
    data = data.dataset if isinstance(data, Workers) else data  # who reads them may change
    parts: Any = data
    if isinstance(data, Dataset):
        digest.update(f"{type(data).__name__} {len(data)}".encode())  # type: ignore[arg-type]
        parts = exposed(data)
    for part in parts:
        if isinstance(part, Tensor | np.ndarray):
            values = torch.as_tensor(part).detach().cpu().contiguous()
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy())
        else:
            digest.update(json.dumps(plain(part)).encode())
    return digest.hexdigest()


def recorded(keeper: Keeper | None, name: str) -> int | None:
    """A number of the run that is kept, such as that of processes; None for one that is not."""
    found = keeper.folder.about["recorded"][name] if keeper else None
    return None if found is None else int(found)


def need_run_of(folder: Folder, log_joint: LogJoint, data: Any) -> None:
    """Raise ValueError unless these are the model and the data of the run, with expected and got."""
    about = {"model": about_model(log_joint), "data": _hashed(data)}
    folder.need_same(folder.about | about | _near(folder.about, about))


def draws_so_far(folder: Folder) -> Draws:
    """What there is of a run, at its end or before: the draws that all chains have. Raises ValueError if there are none.

    Chains without any, which are still in warm-up, are left out.
    """
    store, result = Store.open(folder.path / STORE), folder.read_state(RESULT)
    names = list(folder.about["model"]["sites"])
    if result and result[1]["of"] == store.draws:
        return _read(store, names, result[1])
    states = [folder.read_state(part) for part in folder.parts() if part != RESULT]
    trees = [state[1] for state in states if state]
    made = [(tree, tree["sink"]["count"]) for tree in trees if isinstance(tree["sink"], dict) and tree["sink"]["count"]]
    if not made:
        steps = ", ".join(f"{tree['run']['step']:,}" for tree in trees) or "0"
        raise ValueError(
            f"{folder.path} has no draws yet, it is at step {steps}: go on with it by "
            f"bz.resume({str(folder.path)!r}, model, data)"
        )
    count = min(n for _, n in made)
    chains = [chain for tree, _ in made for chain in range(*tree["chains"])]
    common = [n for n in made[0][0]["sink"].get("stats", []) if all(n in tree["sink"]["stats"] for tree, _ in made)]
    stats = {n: torch.from_numpy(store.stats[n][chains, :count]) for n in common}
    return Draws(stored(store, names, count, chains), stats, {}, _so_far(folder.about, [tree["run"] for tree, _ in made]))


def _so_far(about: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The attrs of a run that is under way."""
    return {
        "backend": about["backend"],
        "settings": json.dumps(about["settings"]),
        "seed": about["seed"],
        "device": about["device"],
        "dtype": about["model"]["dtype"],
        "torch_version": about["versions"]["torch"],
        "pyro_version": about["versions"]["pyro-ppl"],
        "gradients": sum(sum(run["gradients"].values()) for run in runs),
        "tuning_time": max(sum(s for n, s in run["seconds"].items() if n != "draws") for run in runs),
        "sampling_time": max(run["seconds"].get("draws", 0.0) for run in runs),
        "interrupted": True,
    }


def kept(keeper: Keeper | None, draws: Draws, ranks: Ranks = ONE) -> Draws:
    """The draws, which are now kept as the result of their run, unless it was cut short; of several ranks by the first."""
    if keeper and ranks.rank == 0 and not draws.attrs.get("interrupted"):
        keeper.complete(draws.draws, draws.stats, {"history": draws.history, "attrs": draws.attrs})
    return draws


def finished(keeper: Keeper) -> Draws | None:
    """The draws of a run that was at its end when it was kept last; they stay on disk."""
    found = keeper.result()
    if found is None:
        return None
    return _read(keeper.store, list(keeper.folder.about["model"]["sites"]), found)


def _read(store: Store, names: list[str], result: dict[str, Any]) -> Draws:
    count = result["draws"]
    stats = {name: torch.from_numpy(store.stats[name][:, :count]) for name in result["stats"]}
    return Draws(stored(store, names, count), stats, result["history"], result["attrs"])
