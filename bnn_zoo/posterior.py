"""What ``fit`` returns: the draws with their model and data, ready for prediction, diagnostics and ArviZ."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyro import poutine
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from . import export
from ._scope import alone, seeded
from .data import tensors
from .density import Hold, is_data
from .diagnostics import summarise
from .predict import Prediction, deterministics, log_likelihood, moments, posterior_predictive, predict, replay
from .predict.passes import Read
from .types import DataError, Draws, Model

BUDGET = 200_000_000
"""Most numbers that one exported array may hold (float32: 0.8 GB)."""


@dataclass
class Posterior:
    """Draws of a model's latent sites given data. ``draws.sites[name]`` is ``[chain, draw, *shape]``."""

    model: Model
    data: Any
    draws: Draws

    # ------------------------------------------------------------------ prediction

    def predict(self, *args: Any, seed: int = 0, device: torch.device | str | None = None) -> Prediction:
        """The posterior predictive law at new inputs: ``predict(x_new)``, where ``model(x_new)`` leaves y open.

        Arguments are those of the model without y, as tensors or arrays, on ``device`` or where they are. Raises
        DataError for NaN, empty or ill-typed inputs, ModelError where the model leaves no site or several open.
        """
        inputs = self._like_data(tensors(args, device))
        return predict(self.model, self.draws.sites, inputs, seed)

    def _like_data(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """New inputs in the dtype and with the trailing shape of the data that the model was fitted to."""
        seen = self._one_row() if isinstance(self.data, Dataset) else self.data
        for i, (new, old) in enumerate(zip(args, seen, strict=False)):
            if isinstance(new, Tensor) and isinstance(old, Tensor) and new.shape[1:] != old.shape[1:]:
                remedy = ": write x[None] for one row" if new.shape == old.shape[1:] else ""
                raise DataError(
                    f"argument {i}: the model was fitted to rows of shape {tuple(old.shape[1:])}, got {tuple(new.shape[1:])}"
                    f"{remedy}"
                )
        dtype = next(iter(self.draws.sites.values())).dtype
        return tuple(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)

    @cached_property
    def rows(self) -> tuple[Any, ...]:
        """The training data as the tuple of the model's arguments; a torch Dataset is read through once."""
        if not isinstance(self.data, Dataset):
            return tuple(self.data)
        with seeded(0, torch.device("cpu")):  # where the set draws random numbers, such as for augmentation
            batches = list(DataLoader(self.data, batch_size=1024))
        return tuple(torch.cat(column) for column in zip(*batches, strict=True))

    def _one_row(self) -> tuple[Any, ...]:
        """The first row of a Dataset as a batch, for its shapes; the others are not read."""
        with seeded(0, torch.device("cpu")):
            return tuple(next(iter(DataLoader(Subset(self.data, [0])))))

    def log_likelihood(self) -> dict[str, Tensor]:
        """Pointwise log likelihood of the training rows: ``{observed site: [chain, draw, n]}``, nats."""
        self._check_budget(self.rows, "the log likelihood", lambda law, y: {"": law.log_prob(y)})
        return log_likelihood(self.model, self.draws.sites, self.rows)

    # ------------------------------------------------------------------ diagnostics

    def summary(self, probe: Any = None, rows: int = 100) -> pd.DataFrame:
        """Convergence, function space first: one line for predictions, log likelihood, then each site.

        Hidden units can be swapped without changing the network, so R-hat of single weights says little. The first lines
        look at what the network computes, at ``probe`` (the model's whole arguments; by default ``rows`` training rows
        evenly spaced). Columns, as ``diagnostics.summarise`` gives them: ``scalars``, ``undefined`` (those without an
        R-hat), ``max_rhat``, ``share_rhat_above_1.01``, ``min_ess_bulk``, ``median_ess_bulk``, ``min_ess_tail``. Chains of
        a variational backend are restarts: there R-hat tells whether they found the same optimum.
        """
        args = self._spaced(rows) if probe is None else tensors(probe)
        f, log_lik = self.function_draws(args)
        lines = {f"predictions {k}": v for k, v in f.items()}
        lines |= {f"log likelihood {k}": v for k, v in log_lik.items()} | self.draws.sites
        table = pd.DataFrame({n: summarise(v.flatten(2) if v.dim() > 2 else v[..., None]) for n, v in lines.items()}).T
        return table.astype({"scalars": int, "undefined": int})

    def function_draws(self, args: tuple[Any, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """At every draw, the mean ``[chain, draw, n, …]`` and log likelihood ``[chain, draw, n]`` of observed sites."""
        out = replay(
            self.model, self.draws.sites, args, lambda law, y: {"f": moments(law)[0], "log likelihood": law.log_prob(y)}
        )
        return {k: v["f"] for k, v in out.items()}, {k: v["log likelihood"] for k, v in out.items()}

    def _spaced(self, count: int) -> tuple[Any, ...]:
        """``count`` rows of the training data, evenly spaced, where the arguments are rows; else all of it."""
        lengths = {len(t) for t in self.rows if isinstance(t, Tensor) and t.dim()}
        if len(lengths) != 1 or not all(isinstance(t, Tensor) for t in self.rows) or max(lengths) <= count:
            return self.rows
        pick = torch.linspace(0, max(lengths) - 1, count).long()
        return tuple(t[pick] for t in self.rows)

    # ------------------------------------------------------------------ ArviZ

    @alone()
    def to_inference_data(
        self,
        *,
        test: Any = None,
        warmup: bool = False,
        prior: int = 0,
        coords: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Any:
        """Everything as ArviZ's schema: ``InferenceData`` on arviz < 1, ``xarray.DataTree`` with the same groups from 1.

        Groups: posterior, sample_stats, log_likelihood, posterior_predictive, observed_data, constant_data; history (the
        tuning or optimisation). With ``test=(x, y)`` also predictions (``y`` with its noise and ``y_mean``, what the network
        computes, for function-space diagnostics in ArviZ), predictions_constant_data,
        predictions_observed_data and predictions_log_likelihood. With ``prior=200`` also prior and prior_predictive of
        so many draws; with ``warmup=True`` the statistics of the warm-up. Rows have the dimension ``obs_id``
        (``pred_id`` for test rows); a weight's dimensions carry its name: ``0.weight_out``, ``0.weight_in``. ``coords``
        labels dimensions, such as the names of the features: ``{"0.weight_in": ["age", "bmi"]}``.

        Raises DataError where an array would hold more than ``BUDGET`` numbers.
        """
        sites, rows = self.draws.sites, self.rows
        self._check_budget(rows, "the posterior predictive", lambda law, y: {"y": law.sample(), "p": law.log_prob(y)})
        new = None if test is None else self._like_data(tensors(test))
        if new is not None:
            self._check_budget(new, "the predictions", lambda law, y: {"y": law.sample(), "mean": moments(law)[0]})
        groups: dict[str, dict[str, Any]] = {
            "posterior": sites | deterministics(self.model, sites, rows),
            "sample_stats": self.draws.stats,
            "log_likelihood": log_likelihood(self.model, sites, rows),
            "posterior_predictive": posterior_predictive(self.model, sites, rows, seed),
            **dict(zip(("observed_data", "constant_data"), self._split(rows), strict=True)),
        }
        dims = {name: export.weight_dims(name, v.shape[2:]) for name, v in groups["posterior"].items()}
        row_dims = self._row_dims(groups["observed_data"] | groups["constant_data"], "obs_id")
        group_dims: dict[str, Any] = {}
        if new is not None:
            groups["predictions"] = _with_means(self.model, sites, new, seed)
            if not groups["predictions"]:
                raise DataError(
                    f"test must be all of the model's arguments, such as (x, y), but with these {len(new)} nothing is "
                    "observed; for inputs alone use predict(x)"
                )
            groups["predictions_log_likelihood"] = log_likelihood(self.model, sites, new)
            parts = self._split(new)
            groups["predictions_observed_data"], groups["predictions_constant_data"] = parts
            means = {k: v[0, 0] for k, v in groups["predictions"].items()}
            pred_dims = self._row_dims(means | parts[0] | parts[1], "pred_id")
            group_dims = {g: pred_dims for g in groups if g.startswith("predictions")}
        if prior:
            groups |= self._prior(prior, seed)
        history = {k: v for k, v in self.draws.history.items() if warmup or not k.startswith("warmup_")}
        groups["history"] = {k: v for k, v in history.items() if not k.startswith("warmup_")}
        if warmup:
            groups["warmup_sample_stats"] = {
                k.removeprefix("warmup_"): v for k, v in history.items() if k.startswith("warmup_")
            }
        run = {k: v for k, v in self.draws.attrs.items() if v is not None}
        return export.to_inference_data(
            groups,
            dims=dims | row_dims,
            coords=coords,
            group_dims=group_dims | {"history": {k: ["chain", "step"] for k, v in history.items() if v.dim() == 2}},
            attrs=run,
            group_attrs={"posterior": run, "sample_stats": run},
        )

    def _split(self, rows: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observed values by site, and the other array arguments by the model's parameter names."""
        draw = {name: value[0, 0].to(_device(rows)) for name, value in self.draws.sites.items()}
        with Hold(draw):
            trace = poutine.trace(self.model).get_trace(*rows)
        observed = {n: m["value"] for n, m in trace.nodes.items() if is_data(m)}
        names = list(inspect.signature(self.model).parameters) + [f"arg_{i}" for i in range(len(rows))]
        inputs = {
            name: value
            for name, value in zip(names, rows, strict=False)
            if isinstance(value, Tensor) and not any(_same(value, seen) for seen in observed.values())
        }
        return _numpy(observed), _numpy(inputs)

    @staticmethod
    def _row_dims(arrays: Mapping[str, Any], row: str) -> dict[str, list[str]]:
        """Every array with as many rows as the most common length has ``row`` as its first dimension."""
        lengths = [a.shape[0] for a in arrays.values() if a.ndim]
        if not lengths:
            return {}
        common = max(set(lengths), key=lengths.count)
        own = {n: [f"{n}_dim_{i}" for i in range(a.ndim)] for n, a in arrays.items()}
        return {n: [row, *own[n][1:]] if a.ndim and a.shape[0] == common else own[n] for n, a in arrays.items()}

    def _prior(self, count: int, seed: int) -> dict[str, dict[str, Any]]:
        """Draws from the prior and data from them: one chain of ``count``."""
        from pyro.infer import Predictive

        with torch.no_grad(), seeded(seed, torch.device("cpu")):
            made = Predictive(poutine.uncondition(self.model), num_samples=count)(*self.rows)
        prior = {n: made[n].reshape(1, count, *v.shape[2:]) for n, v in self.draws.sites.items()}
        data = {n: made[n].reshape(1, count, *v.shape) for n, v in self._split(self.rows)[0].items()}
        return {"prior": prior, "prior_predictive": data}

    def _check_budget(self, rows: tuple[Any, ...], what: str, read: Read) -> None:
        """One draw shows how many numbers all of them make."""
        one = {name: value[:1, :1] for name, value in self.draws.sites.items()}
        found = replay(self.model, one, rows, read)
        shapes = [v.shape[2:] for values in found.values() for v in values.values()]
        shape = max(shapes, key=lambda shape: shape.numel(), default=torch.Size())
        chains, draws = self.draws.chains, self.draws.draws
        if (count := chains * draws * shape.numel()) > BUDGET:
            numbers = " × ".join(map(str, [f"{chains} chains", f"{draws} draws", *shape]))
            raise DataError(
                f"{what} would hold {count:,} numbers, {numbers}, more than {BUDGET:,}: keep fewer draws (thinning), or "
                "export a subset by Posterior(model, rows, draws)"
            )

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write ``to_inference_data(**options)`` to a netCDF file, whole or not at all; returns its path.

        Raises, before any work, FileExistsError if it exists and other OSErrors where it cannot be made.
        """
        path = export.target_path(path)
        return export.save(self.to_inference_data(**options), path)

    def __repr__(self) -> str:
        seconds = self.draws.attrs.get("tuning_time", 0.0) + self.draws.attrs.get("sampling_time", 0.0)
        return (
            f"Posterior({self.draws.attrs.get('backend', 'unknown backend')}: {self.draws.chains} chains × "
            f"{self.draws.draws} draws of {len(self.draws.sites)} sites, {seconds:.1f} s)"
        )


def _with_means(model: Model, sites: Mapping[str, Tensor], rows: tuple[Any, ...], seed: int) -> dict[str, Tensor]:
    """For every observed site new data at each draw, and beside it ``<site>_mean``, the noise-free mean at each draw."""
    out = replay(model, sites, rows, lambda law, y: {"": law.sample(), "_mean": moments(law)[0]}, seed=seed)
    return {site + suffix: value for site, values in out.items() for suffix, value in values.items()}


def _device(rows: tuple[Any, ...]) -> torch.device:
    return next((t.device for t in rows if isinstance(t, Tensor)), torch.device("cpu"))


def _same(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and a.shape == b.shape and bool((a == b.to(a.dtype)).all())


def _numpy(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy() for name, value in values.items()}
