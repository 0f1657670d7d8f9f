"""What ``fit`` returns: the draws with their model and data, ready for prediction, diagnostics and ArviZ."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from . import export
from ._scope import alone, factory, seeded
from .bnn import rows_alone
from .data import tensors
from .data.items import collate, size_of
from .diagnostics import summarise
from .predict import (
    Prediction,
    SummedOut,
    can_batch,
    check_call,
    compacted,
    contents,
    data_rows,
    deterministics,
    like_data,
    log_likelihood,
    log_predictive,
    log_prob,
    moments,
    place_of,
    predict,
    replay,
    seen_only,
    split,
)
from .predict.passes import Read
from .run import Stored, choosing
from .run.stored import flattened
from .types import Backend, DataError, Draws, Model, ModelError

BUDGET = 200_000_000
"""Most numbers that one exported array may hold (float32: 0.8 GB)."""


@dataclass
class Posterior:
    """Draws of a model's latent sites given data. ``draws.sites[name]`` is ``[chain, draw, *shape]``."""

    model: Model
    data: Any
    draws: Draws
    folder: Path | None = None
    """Where the run is kept, if it is: the draws may be on disk there."""

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Model, data: Any) -> Posterior:
        """The posterior of a run that is kept in a folder, finished or not: the draws that all chains have so far.

        ``model`` and ``data`` are those of the run: raises ValueError, with expected and got, where sites, shapes, dtype,
        the log joint at a point, or the data differ, or where there are no draws yet; FileNotFoundError without a run.
        """
        from .kept_runs import read

        rows, draws = read(path, model, data)
        return cls(model, rows, draws, Path(path).expanduser().absolute())

    # ------------------------------------------------------------------ parts and more

    def select(self, *, chains: Any = None, draws: Any = None) -> Posterior:
        """Of these chains and draws: numbers, slices, lists or arrays of numbers or booleans. Nothing is read from disk."""
        return Posterior(self.model, self.data, choosing.select(self.draws, chains, draws))

    def thin(self, every: int) -> Posterior:
        """Of every so manyth draw, the last among them."""
        _at_least(1, every=every)
        last = (self.draws.draws - 1) % every
        return self.select(draws=slice(last, None, every))

    def compact(self, count: int, *, probe: Any = None, rows: int = 100) -> Posterior:
        """So many draws of all chains, as one chain, that keep the predictive law: for fast predictions with error bars.

        Chosen are support points: those whose law of the model's mean f at ``probe`` (the model's whole arguments; by
        default ``rows`` training rows evenly spaced) has the least energy distance from that of all draws (Mak & Joseph
        2018). ``draws.attrs`` tells the loss: ``energy_distance`` of these draws, and of as many evenly spaced ones; in the
        units of f, 0 where nothing is lost. Draws are no chain any more: no R-hat, no ESS.
        """
        _at_least(1, count=count)
        if count > self.draws.chains * self.draws.draws:
            raise DataError(f"compact takes {count} draws of {self.draws.chains} × {self.draws.draws}: ask for fewer")
        args = self._spaced(rows) if probe is None else self._inputs(probe, "probe")
        return Posterior(self.model, self.data, compacted(self.draws, self.function_draws(args)[0], count))

    def extend(self, draws: int, *, backend: Backend | None = None, progress: bool = True) -> Posterior:
        """So many more draws of each chain, of a run that is kept in a folder: all of them, old and new.

        They are those of a run that had asked for all at once, bit for bit. Possible for samplers on all rows, and for
        stochastic-gradient ones of constant step size and temperature whose warmup and thinning were given; a longer run of
        others would have begun otherwise, and is refused with the reason. ``backend`` as in ``bz.resume``.
        """
        if self.folder is None:
            raise ValueError(
                "extend goes on with a run that is kept: fit(…, checkpoint=folder), or Posterior.load(folder, …)"
            )
        from .kept_runs import extend

        return extend(self.folder, self.model, self.data, draws, backend, progress)

    def __post_init__(self) -> None:
        if not self.draws.sites or not self.draws.chains * self.draws.draws:
            raise DataError(f"a posterior needs at least one draw of one site, got sites {list(self.draws.sites)}")

    # ------------------------------------------------------------------ prediction

    def predict(self, *args: Any, seed: int = 0, device: torch.device | str | None = None) -> Prediction:
        """The posterior predictive law at new inputs: ``predict(x_new)``, where ``model(x_new)`` leaves y open.

        Arguments are those of the model without y, as tensors or arrays; None for a site in the middle that stays open. They
        are moved to ``device``, by default to that of the fit if they are on the CPU. Raises DataError for NaN, empty or
        ill-typed inputs, ModelError where the model leaves no site or several open.
        """
        return predict(self.model, self.draws.sites, self._inputs(args, "predict", device), seed)

    def log_prob(self, x: Tensor, y: Any) -> Tensor:
        """Log density of the predictive mixture at inputs ``x`` and rows ``y``: ``[n]``, float64, nats, differentiable in x.

        The values are those of ``predict(x).log_prob(y)``, which records no gradient. ``torch.autograd.grad`` of their sum
        says which inputs the prediction hangs on (attacks, saliency). All draws and rows at once: of large networks take few
        rows at a time. For a ``BNN`` or a model of one argument. Raises DataError as ``predict`` does, and for another shape
        of y.
        """
        rows = self._inputs((x,), "log_prob")[0]  # checked, and no longer part of x's graph
        sites = {name: flattened(value)[:] for name, value in self.draws.sites.items()}
        few = rows[:2] if rows_alone(self.model) else rows
        inputs = x.to(rows) if isinstance(x, Tensor) else rows
        return log_predictive(self.model, sites, inputs, y, together=can_batch(self.model, sites, few))

    def _inputs(self, args: Any, what: str, device: torch.device | str | None = None) -> tuple[Any, ...]:
        """Arguments of the model as tensors, on the right device, that its signature takes and that are like its data."""
        if isinstance(args, Dataset):
            args = read_dataset(args)
        if isinstance(args, tuple | list):
            check_call(self.model, tuple(args), what)
        by_rows = rows_alone(self.model)
        rows = tensors(args, self._device(args, device), finite=by_rows or what == "predict")  # y may have rows of NaN
        return like_data(rows, self._example, self.draws, by_rows)

    def _device(self, args: Any, device: torch.device | str | None) -> torch.device | str | None:
        """Where to compute: as asked, else where arguments beyond the CPU lie, else the device of the fit if it is here."""
        if device is not None or any(isinstance(a, Tensor) and a.device.type != "cpu" for a in args):
            return device
        fitted = torch.device(self.draws.attrs.get("device", "cpu"))
        here = fitted.type == "cuda" and torch.cuda.is_available() and (fitted.index or 0) < torch.cuda.device_count()
        return fitted if here else None

    @cached_property
    def rows(self) -> tuple[Any, ...]:
        """The training data as the tuple of the model's arguments; a torch Dataset is read through once."""
        if not isinstance(self.data, Dataset):
            return tuple(self.data)
        rows = read_dataset(self.data)
        return tensors(rows, self._device(rows, None))

    @cached_property
    def _example(self) -> tuple[Any, ...]:
        """The data of the fit, or the first row of a torch Dataset."""
        return read_dataset(self.data, 1) if isinstance(self.data, Dataset) else tuple(self.data)

    def log_likelihood(self) -> dict[str, Tensor]:
        """Pointwise log likelihood of the training rows: ``{observed site: [chain, draw, n]}``, nats.

        Of the rows that entered the posterior: those that a mask, a scale of zero or NaN under a law that skips it hides are
        left out. ``poutine.scale`` with other numbers changes the posterior and not these densities of single rows.
        """
        self._check_budget(self.rows, "the log likelihood", lambda law, y: {"": log_prob(law, y)})
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
        if not isinstance(rows, int) or rows < 1:
            raise ValueError(f"summary looks at rows ≥ 1 training rows, got rows={rows!r}")
        args = self._spaced(rows) if probe is None else self._inputs(probe, "probe")
        try:
            f, log_lik = self.function_draws(args)
        except SummedOut:  # the sites alone
            f, log_lik = {}, {}
        lines = {f"predictions {k}": v for k, v in f.items()}
        lines |= {f"log likelihood {k}": v for k, v in log_lik.items()} | self.draws.sites
        found = {
            n: summarise(v.scalars() if isinstance(v, Stored) else v.reshape(*v.shape[:2], -1)) for n, v in lines.items()
        }
        table = pd.DataFrame(found).T
        return table.astype({"scalars": int, "undefined": int})

    def function_draws(self, args: tuple[Any, ...] | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """At every draw, the mean ``[chain, draw, n, …]`` and log likelihood ``[chain, draw, n]`` of observed sites.

        ``args``: the model's whole arguments; by default 100 training rows, evenly spaced.
        """
        args = self._spaced(100) if args is None else args
        seen = data_rows(self.model, self.draws.sites, args)
        out = replay(
            self.model, self.draws.sites, args, lambda law, y: {"f": moments(law)[0], "log likelihood": log_prob(law, y)}
        )
        log_lik = seen_only({k: v["log likelihood"] for k, v in out.items()}, seen, 2)
        return {k: v["f"] for k, v in out.items()}, log_lik

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

        Rows that a mask, a scale of zero or NaN hides from the posterior are left out of all groups of y, and the labels
        of ``obs_id`` are the numbers of those that are left (``{site}_obs_id`` where sites differ in it).

        Raises DataError where an array would hold more than ``BUDGET`` numbers.
        """
        _at_least(0, prior=prior)
        try:
            self._check_budget(
                self.rows, "the posterior predictive", lambda law, y: {"y": law.sample(), "p": log_prob(law, y)}
            )
            known = True
        except SummedOut as error:
            warnings.warn(f"log likelihood and predictive groups are left out: {error}", stacklevel=3)
            known, test, prior = False, None, 0
        new = None if test is None else self._inputs(test, "test")
        if new is not None:
            self._check_budget(new, "the predictions", lambda law, y: {"y": law.sample(), "mean": moments(law)[0]})
        sites, coords = self.draws.sites, dict(coords or {})
        made = _Groups({}, {}, {})
        latent = sites | deterministics(self.model, sites, self.rows)
        made.groups |= {"posterior": latent, "sample_stats": self.draws.stats}
        made.dims["posterior"] = {name: export.weight_dims(name, v.shape[2:]) for name, v in latent.items()}
        if known:
            self._add_data(made, self.rows, "", coords, seed, prior)
        if new is not None:
            self._add_data(made, new, "predictions", coords, seed)
        history = {k: v for k, v in self.draws.history.items() if warmup or not k.startswith("warmup_")}
        made.groups["history"] = {k: v for k, v in history.items() if not k.startswith("warmup_")}
        made.dims["history"] = {k: ["chain", "step"] for k, v in history.items() if v.dim() == 2}
        if warmup:
            made.groups["warmup_sample_stats"] = {
                k.removeprefix("warmup_"): v for k, v in history.items() if k.startswith("warmup_")
            }
        run = {k: v for k, v in self.draws.attrs.items() if v is not None}
        return export.to_inference_data(
            made.groups,
            coords=coords,
            group_dims=made.dims,
            group_coords=made.coords,
            attrs=run,
            group_attrs={"posterior": run, "sample_stats": run},
        )

    def _add_data(
        self, made: _Groups, rows: tuple[Any, ...], kind: str, coords: Mapping[str, Any], seed: int, prior: int = 0
    ) -> None:
        """Groups of the training rows (``kind=""``) or of test rows (``"predictions"``), with their dimensions."""
        sites, row, pre = self.draws.sites, "pred_id" if kind else "obs_id", f"{kind}_" if kind else ""
        means = {"_mean": lambda law: moments(law)[0]} if kind else {}
        seen = data_rows(self.model, sites, rows)
        if kind and not seen:
            raise DataError(
                f"test must be all of the model's arguments, such as (x, y), but with these {len(rows)} nothing is "
                "observed; for inputs alone use predict(x)"
            )
        drawn = replay(
            self.model, sites, rows, lambda law, y: {"": law.sample(), **{k: f(law) for k, f in means.items()}}, seed=seed
        )
        scored = replay(self.model, sites, rows, lambda law, y: {"": log_prob(law, y)})
        observed, inputs = split(self.model, {n: v[0, 0].to(_device(rows)) for n, v in sites.items()}, rows)
        values: dict[str, dict[str, Any]] = {
            f"{pre}log_likelihood": seen_only({s: v[""] for s, v in scored.items()}, seen, 2),
            kind or "posterior_predictive": {
                s + end: value
                for end in ("", *means)
                for s, value in seen_only({s: v[end] for s, v in drawn.items()}, seen, 2).items()
            },
            f"{pre}observed_data": seen_only({s: v.detach().cpu() for s, v in observed.items()}, seen, 0),
        }
        if prior:
            values |= self._prior(prior, seed, seen, made.groups["posterior"])
            made.dims["prior"] = made.dims["posterior"]
            made.groups["prior"] = values.pop("prior")
        count = export.row_count((v.shape for v in observed.values()), (v.shape for v in inputs.values()))
        masks = {s: v.numpy() for s, v in seen.items()}
        first, labels = export.row_names(masks, count, row, coords.get(row))
        for s, v in observed.items():  # one law over all rows: they are an event, and no mask can hide one
            if not seen[s].dim() and v.dim() and len(v) == count:
                first[s] = row
        for group, arrays in values.items():
            lead = 0 if group.endswith("observed_data") else 2
            made.dims[group] = {n: export.axis_names(n, v.shape[lead:], _first(first, n)) for n, v in arrays.items()}
            used = {d for names in made.dims[group].values() for d in names}
            made.coords[group] = {d: v for d, v in labels.items() if d in used}
        made.groups |= values
        made.groups[f"{pre}constant_data"] = {n: v.detach().cpu() for n, v in inputs.items()}
        made.dims[f"{pre}constant_data"] = {
            n: export.axis_names(n, v.shape, row if v.dim() and len(v) == count and row not in inputs else None)
            for n, v in inputs.items()
        }

    def _prior(
        self, count: int, seed: int, seen: Mapping[str, Tensor], latent: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Any]]:
        """Draws of ``latent`` and deterministic sites from the prior and data from them: one chain of ``count``."""
        device, dtype = place_of(self.rows, self.draws.sites)
        with torch.no_grad(), seeded(seed, device), factory(device, dtype):
            try:
                made = Predictive(poutine.uncondition(self.model), num_samples=count)(*self.rows)
            except NotImplementedError as error:
                raise ModelError(
                    f"prior={count} asks for draws from the prior, and the law of a site cannot be sampled "
                    f"({_first_line(error)}): leave prior=0, or give that site a proper prior"
                ) from error
        prior = {n: made[n].reshape(1, count, *v.shape[2:]) for n, v in latent.items() if n in made}
        observed, _ = split(self.model, {n: v[0, 0].to(device) for n, v in self.draws.sites.items()}, self.rows)
        data = {n: made[n].reshape(1, count, *v.shape) for n, v in observed.items()}
        return {"prior": prior, "prior_predictive": seen_only(data, seen, 2)}

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
                "export a part: posterior.thin(10).to_inference_data(), or Posterior(model, rows, draws) of fewer rows"
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


def concat(posteriors: Sequence[Posterior]) -> Posterior:
    """The chains of several posteriors of one model and one set of data, from runs of other seeds or backends, as one.

    ``draws.attrs["joined"]`` says what was joined; what differs is left out, costs add up. Nothing is read from disk.
    Raises DataError where sites, numbers of draws or data differ.
    """
    parts = list(posteriors)
    if not parts or not all(isinstance(p, Posterior) for p in parts):
        raise TypeError(f"concat takes a list of posteriors, got {posteriors!r}")
    for number, other in enumerate(parts[1:], 1):
        if not _same_data(parts[0].data, other.data):
            raise DataError(f"posterior {number} is one of other data than posterior 0: they are not draws from one law")
    return Posterior(parts[0].model, parts[0].data, choosing.concat([p.draws for p in parts]))


def _same_data(one: Any, other: Any) -> bool:
    if isinstance(one, Dataset) or isinstance(other, Dataset):
        return one is other
    pairs = list(zip(one, other, strict=False))
    return len(one) == len(other) and all(
        a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.cpu().nan_to_num(), b.cpu().nan_to_num()))
        if isinstance(a, Tensor) and isinstance(b, Tensor)
        else a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))
        for a, b in pairs
    )


@dataclass
class _Groups:
    """What an export is made of, by group: arrays, names of their axes, labels of those."""

    groups: dict[str, Mapping[str, Any]]
    dims: dict[str, Mapping[str, Any]]
    coords: dict[str, Mapping[str, Any]]


def _first(first: Mapping[str, str], name: str) -> str | None:
    """The first axis of an observed site, or of its mean."""
    found = first.get(name, first.get(name.removesuffix("_mean")))
    return None if found == f"{name.removesuffix('_mean')}_dim_0" else found


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _device(rows: tuple[Any, ...]) -> torch.device:
    return next((t.device for t in rows if isinstance(t, Tensor)), torch.device("cpu"))


def _at_least(least: int, **settings: Any) -> None:
    for name, value in settings.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")


def read_dataset(data: Dataset[Any], count: int | None = None) -> tuple[Any, ...]:
    """The (first ``count``) rows of a torch Dataset as one tuple of tensors; the global random state is left alone."""
    size_of(data)
    with seeded(0, torch.device("cpu")):
        part = data if count is None else Subset(data, range(count))
        batches = list(DataLoader(part, batch_size=1024, collate_fn=collate))
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))


def check_exportable(model: Model, data: Any) -> None:
    """Raise ModelError for names of sites that could not be exported after the fit, at the cost of one run of the model: on
    one row where rows are independent, as all rows of a network that convolves may not fit into memory."""
    try:
        if isinstance(data, Dataset):
            rows = read_dataset(data, 1)
        else:
            rows = tuple(t[:1] if rows_alone(model) and isinstance(t, Tensor) else t for t in data)
        found = contents(model, rows)
    except (DataError, ModelError, IndexError):  # of other kinds, or what does not fit: the backend says so
        return
    export.check_names({**found.latent, **found.fixed}, found.observed)
