"""The same Bayesian neural network under several backends, side by side: table, pictures and InferenceData files."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from . import metrics
from ._interrupt import pressed
from ._ranks import here
from .bnn import BNN
from .catalogue import Entry, find, of
from .comparison_pictures import pictures
from .comparison_report import report
from .data import Table
from .density import LogJoint
from .diagnostics import summarise
from .fit import fit
from .likelihoods import Bernoulli, Categorical, Gaussian
from .nets import MLP
from .posterior import Posterior
from .predict import Prediction
from .priors import Normal, fan_in
from .types import Backend, Draws

HIDDEN = 50
ENOUGH = 400
"""Predictive draws of a row, at least, from which intervals are read."""


def _settings(entry: Entry) -> Callable[[int, int, int], Backend]:
    def make(chains: int, draws: int, rows: int) -> Backend:
        made: Backend = entry.make(entry.facts["compare"], chains=chains, draws=draws, rows=rows)
        return made

    return make


BACKENDS: dict[str, Callable[[int, int, int], Backend]] = {name: _settings(e) for name, e in of("backend").items()}
"""Name → (chains, draws, training rows) → settings of the compare run."""
USUAL = ("NUTS", "HMC", "MeanField", "SGLD")
"""Those that are compared where nobody chooses."""


def network(table: Table) -> BNN:
    """One hidden layer of 50 tanh units, weights N(0, 1/fan-in), and the likelihood that the target asks for."""
    outputs = len(table.classes) if len(table.classes) > 2 else 1
    likelihood: Any = Gaussian() if not table.classes else (Bernoulli() if outputs == 1 else Categorical())
    return BNN(MLP(table.x.shape[1], outputs, hidden=(HIDDEN,)), Normal(fan_in), likelihood)


def published(name: str, table: Table) -> BNN:
    """The published model of this name for the table's inputs. Raises ValueError where there is none, or it does not fit."""
    entries = of("published")
    if name not in entries:
        find(name)  # raises with the nearest names
        raise ValueError(f"{name} is no published model: choose from {', '.join(entries)}")
    entry = entries[name]
    takes_inputs = "inputs" in inspect.signature(entry.constructor).parameters
    model = entry.constructor(**({"inputs": table.x.shape[1]} if takes_inputs else {}))
    if not isinstance(model, BNN):
        raise ValueError(f"{name} is no network, and has no inputs to predict from: fit it in Python, bz.zoo.{name}()")
    try:
        LogJoint(model, (table.x, table.y))
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} ({entry.facts['architecture']}, {entry.facts['likelihood']}) does not fit {table.name} "
            f"({table.x.shape[1]} inputs, {f'{len(table.classes)} classes' if table.classes else 'a real target'}): {error}"
        ) from error
    return model


class NothingFinished(RuntimeError):
    """Every backend of a comparison failed."""


@dataclass
class Outcome:
    """What one backend gave: its posterior, its predictions of the test rows, draws of their y, its line of the table."""

    posterior: Posterior
    prediction: Prediction
    draws: torch.Tensor
    row: dict[str, Any] = field(default_factory=dict)


def predictive_draws(posterior: Posterior, prediction: Prediction, x: torch.Tensor) -> torch.Tensor:
    """Draws of y at the test rows, ``[draw, n]``: enough for intervals, also where there is one draw of the weights."""
    draws = prediction.draws.flatten(0, 1)
    if len(draws) < ENOUGH:
        times = math.ceil(ENOUGH / len(draws))
        again = Draws({name: value[:].repeat_interleave(times, 1) for name, value in posterior.draws.sites.items()})
        draws = Posterior(posterior.model, posterior.data, again).predict(x).draws.flatten(0, 1)
    return draws


def score(table: Table, posterior: Posterior, prediction: Prediction, draws: torch.Tensor) -> dict[str, Any]:
    """One line: errors, test LPPD in nats a row in the data's own units, calibration, convergence, cost."""
    y = table.y_test
    log_likelihood = prediction.log_likelihood(y) - math.log(table.y_scale)
    row: dict[str, Any] = {}
    if table.classes:
        row["accuracy"] = metrics.accuracy(prediction.mean, y)
        row["LPPD"] = metrics.lppd(log_likelihood)
        row["ECE"] = metrics.ece(prediction.mean, y)
    else:
        row["RMSE"] = metrics.rmse(prediction.mean, y) * table.y_scale
        row["LPPD"] = metrics.lppd(log_likelihood)
        row["calibration error"] = metrics.calibration_error(draws, y)
    # probabilities saturate (0.999…), so convergence of classifiers is judged on them and on the log likelihood alike
    both = [summarise(prediction.f.flatten(2)), summarise(log_likelihood)]
    row["max R-hat"] = max((s["max_rhat"] for s in both if not math.isnan(s["max_rhat"])), default=math.nan)
    row["min ESS"] = min(s["min_ess_bulk"] for s in both)
    attrs = posterior.draws.attrs
    row["gradients"] = attrs["gradients"]
    row["seconds"] = attrs["tuning_time"] + attrs["sampling_time"]
    return row


def run(
    table: Table,
    backends: Mapping[str, Backend],
    out: Path,
    *,
    model: BNN | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = print,
    command: str = "",
) -> pd.DataFrame:
    """Fit ``model``, by default ``network(table)``, with every backend; write ``<backend>.nc``, table.md, table.csv,
    pictures and a page with all of it, report.html, into ``out``. ``command`` is what the page says made it.

    With ``checkpoint`` each backend's run is kept in a folder of its name there: the same comparison, called again, goes on
    where it was, into the same ``out``.

    Each backend's files are written as soon as it is done. A backend that fails is reported and left out. Ctrl-C stops the
    run: the backend under way is left out, what is written stays, and KeyboardInterrupt is raised. Where nothing was
    written, ``out`` is removed again. Raises FileExistsError if ``out`` exists without ``checkpoint``, another OSError if it
    cannot be made or written, NothingFinished if every backend failed.

    Over ranks (``fit``) the first does all this, and an error of one backend ends it: the others would wait for the first.
    """
    model, outcomes, failed, ranks = model or network(table), dict[str, Outcome](), dict[str, str](), here()
    folders = {name: None if checkpoint is None else checkpoint / name for name in backends}
    if ranks.rank:
        for name, backend in backends.items():
            rows, kept = (table.x, table.y), folders[name]
            fit(model, rows, backend, seed=seed, device=device, progress=False, checkpoint=kept)
        return pd.DataFrame()
    with _folder(out, again=checkpoint is not None), pressed() as interrupted:
        say(f"{table.name}: {len(table.x)} training and {len(table.x_test)} test rows, {table.x.shape[1]} features; {model}")
        for note in table.notes:
            say(f"  {note}")
        for name, backend in backends.items():
            try:
                kept = folders[name]
                posterior = fit(
                    model, (table.x, table.y), backend, seed=seed, device=device, progress=progress, checkpoint=kept
                )
                if interrupted():  # backends return the draws made so far, as if they were done
                    raise KeyboardInterrupt(f"{name} was cut short and is left out")
                prediction = posterior.predict(table.x_test)
                draws = prediction.draws if table.classes else predictive_draws(posterior, prediction, table.x_test)
                outcome = Outcome(posterior, prediction, draws, score(table, posterior, prediction, draws))
                coords = {"0.weight_in": list(table.features)}
                (out / f"{name}.nc").unlink(missing_ok=True)
                posterior.save(out / f"{name}.nc", test=(table.x_test, table.y_test), coords=coords)
            except (FloatingPointError, RuntimeError, ValueError) as error:
                if interrupted():
                    raise KeyboardInterrupt(f"{name} was cut short and is left out") from error
                if ranks.several:
                    raise
                say(f"{name} failed and is left out: {error}")
                failed[name] = str(error)
                continue
            outcomes[name] = outcome
            frame = _write_table(outcomes, out)
        if not outcomes:
            raise NothingFinished("no backend finished: see the messages above")
        try:
            pictures(table, outcomes, out)
        except (FloatingPointError, RuntimeError, ValueError) as error:
            say(f"the remaining pictures are left out: {error}")
        try:
            report(table, outcomes, out, model=model, cells=cells(frame), failed=failed, command=command)
        except (FloatingPointError, RuntimeError, ValueError) as error:
            say(f"the report is left out: {error}")
    return frame


@contextmanager
def _folder(out: Path, *, again: bool) -> Iterator[None]:
    """A new folder, or with ``again`` one that may be there, removed again where what follows leaves nothing in it."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=again)
        yield
    except BaseException:
        for folder in made:
            try:
                folder.rmdir()
            except OSError:  # it holds results, or never came to be
                continue
        raise


def _write_table(outcomes: Mapping[str, Outcome], out: Path) -> pd.DataFrame:
    frame = pd.DataFrame({name: o.row for name, o in outcomes.items()}).T.rename_axis("backend")
    frame.to_csv(out / "table.csv")
    (out / "table.md").write_text(markdown(frame) + "\n")
    return frame


FORMATS = {"RMSE": ".2f", "accuracy": ".3f", "LPPD": ".3f", "calibration error": ".3f", "ECE": ".3f", "max R-hat": ".3f"}


def cells(frame: pd.DataFrame) -> list[list[str]]:
    """The table as text, its head first."""
    head = [str(frame.index.name), *map(str, frame.columns)]
    return [head, *([str(name), *(_cell(c, row[c]) for c in frame.columns)] for name, row in frame.iterrows())]


def markdown(frame: pd.DataFrame) -> str:
    """The table in Markdown, columns aligned."""
    table = cells(frame)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = []
    for line in table:
        aligned = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append(f"| {' | '.join(aligned)} |")
    rule = "|" + "|".join(("-" * (w + 1) + ":") if i else ":" + "-" * (w + 1) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(column: str, value: float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    return format(value, FORMATS.get(column, ",.0f"))
