"""Tables as train and test sets: the embedded sets of scikit-learn, ``.npz`` files with X and y, ``.csv`` files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import DataError

MOST_CLASSES = 50
"""Whole-number targets with more distinct values than this are regressed on."""


@dataclass(frozen=True)
class Table:
    """A regression or classification task, split and standardised with the training rows' statistics alone.

    x, x_test are ``[n, features]``. For regression y, y_test are ``[n]`` in units of ``y_scale`` around ``y_mean``; for
    classification they hold the labels 0 … len(classes) − 1 and ``classes`` names them (empty for regression).
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()
    y_mean: float = 0.0
    y_scale: float = 1.0


def _sklearn(loader: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    from sklearn import datasets

    bunch = getattr(datasets, loader)()
    names = tuple(getattr(bunch, "feature_names", [f"x{i}" for i in range(bunch.data.shape[1])]))
    return bunch.data, bunch.target, names, "target"


EMBEDDED: dict[str, Callable[[], tuple[np.ndarray, np.ndarray, tuple[str, ...], str]]] = {
    "diabetes": lambda: (*_sklearn("load_diabetes")[:3], "progression"),
    "breast_cancer": lambda: (*_sklearn("load_breast_cancer")[:3], "benign"),
    "digits": lambda: (*_sklearn("load_digits")[:3], "digit"),
    "wine": lambda: (*_sklearn("load_wine")[:3], "cultivar"),
}
"""Real sets that come with scikit-learn: nothing is downloaded."""


def table(source: str, *, target: str | None = None, split: int = 0, test_share: float = 0.2, seed: int = 0) -> Table:
    """Read ``source`` (a name in ``EMBEDDED``, an ``.npz`` with X and y, or a ``.csv`` with column ``target``).

    An ``.npz`` that brings its own splits (row indices ``train_<k>`` and ``test_<k>``) is split by number ``split``;
    everything else by a random permutation from ``seed``, ``test_share`` of the rows for testing. Raises DataError for
    missing files, columns and arrays, NaN, fewer than ten rows and constant targets.
    """
    if source in EMBEDDED:
        x, y, features, target = EMBEDDED[source]()
        return _table(source, x, y, features, target, *_permuted(len(x), test_share, seed))
    path = Path(source)
    if path.suffix not in (".npz", ".csv"):
        raise DataError(f"data must be one of {', '.join(EMBEDDED)}, an .npz or a .csv file; got {source!r}")
    if not path.is_file():
        raise DataError(f"no file {source!r}: expected an .npz with X and y, or a .csv with a header")
    if path.suffix == ".csv":
        x, y, features, target = _csv(path, target)
        return _table(path.stem, x, y, features, target, *_permuted(len(x), test_share, seed))
    with np.load(path) as file:
        if not {"X", "y"} <= set(file):
            raise DataError(f"{path.name} must hold arrays X [n, d] and y [n], it has {sorted(file)}")
        x, y = file["X"], file["y"]
        parts = (f"train_{split}", f"test_{split}")
        if set(parts) <= set(file):
            rows = (file[parts[0]], file[parts[1]])
        elif any(name.startswith("train_") for name in file):
            raise DataError(f"{path.name} has no split {split}: it lacks {parts[0]} or {parts[1]}")
        else:
            rows = _permuted(len(x), test_share, seed)
    if x.ndim != 2 or y.shape != (len(x),):
        raise DataError(f"{path.name}: expected X [n, d] and y [n], got {x.shape} and {y.shape}")
    return _table(path.stem, x, y, tuple(f"x{i}" for i in range(x.shape[1])), target or "y", *rows)


def _permuted(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(rows)
    held = max(1, round(share * rows))
    return order[held:], order[:held]


def _csv(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    import pandas as pd

    frame = pd.read_csv(path)
    if target is None or target not in frame:
        raise DataError(f"name the target column of {path.name} with --target: it has {', '.join(map(str, frame.columns))}")
    if frame.isna().any().any():
        holes = ", ".join(map(str, frame.columns[frame.isna().any()]))
        raise DataError(f"{path.name} has missing values in {holes}: drop or impute them")
    inputs = pd.get_dummies(frame.drop(columns=target), dtype=float)  # text columns become indicators
    return inputs.to_numpy(float), frame[target].to_numpy(), tuple(map(str, inputs.columns)), target


def _table(name: str, x: np.ndarray, y: np.ndarray, features: tuple[str, ...], target: str, train: Any, test: Any) -> Table:
    if len(x) < 10 or x.shape[1] == 0:
        raise DataError(f"{name}: expected at least 10 rows and one feature, got {x.shape}")
    if not np.isfinite(x.astype(float)).all() or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        raise DataError(f"{name} has NaN or infinite values: drop or impute them")
    x = x.astype(float)
    mean, scale = x[train].mean(0), x[train].std(0)
    x = (x - mean) / np.where(scale > 0, scale, 1.0)
    made: dict[str, Any] = {"features": features, "target": target}
    classes, labels = np.unique(y, return_inverse=True)
    if y.dtype.kind != "f" and len(classes) <= MOST_CLASSES:
        y = labels
        made["classes"] = tuple(map(str, classes))
    elif y.dtype.kind in "OUS":
        raise DataError(
            f"{name}: the target {target!r} is text with {len(classes)} values, more than {MOST_CLASSES} classes"
        )
    else:
        made["y_mean"], made["y_scale"] = float(y[train].mean()), float(y[train].std())
        if not made["y_scale"] > 0:
            raise DataError(f"{name}: the target {target!r} is constant on the training rows")
        y = (y - made["y_mean"]) / made["y_scale"]
    kind = torch.long if "classes" in made else torch.float32
    if len(classes) < 2:
        raise DataError(f"{name}: the target {target!r} has one value only")
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=kind)
    train, test = torch.as_tensor(train).long(), torch.as_tensor(test).long()
    return Table(name, inputs[train], targets[train], inputs[test], targets[test], **made)
