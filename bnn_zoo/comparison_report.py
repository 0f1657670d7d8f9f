"""What a comparison's report.html says: findings from the draws, pictures with their captions, versions."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from . import metrics
from .catalogue import of
from .data import Table
from .report import Findings, Page, Picture, doubts, write

if TYPE_CHECKING:
    from .comparison import Outcome

NAME = "report.html"
PACKAGES = ("bnn-zoo", "torch", "pyro-ppl", "arviz", "numpy")
TRACE = "Each colour is a chain. Chains that agree lie over each other and look alike from beginning to end."
RANK = "Each chain's share of all draws from low to high, less an even one. Lines within the grey band agree."
CAPTIONS = {
    "intervals": (
        "Predictions of the test rows",
        "Each bar is the 90 % interval of a test row, rows sorted by truth (black). Orange bars miss it: one in ten should.",
    ),
    "calibration": (
        "Calibration",
        "On the dashed line a share p of the rows lies in intervals of probability p (of classes: is right where the "
        "confidence is p). Below it predictions are too sure, above it too cautious.",
    ),
    "pit": (
        "Where the truth lies in its predictions",
        "Flat is calibrated. A valley in the middle is too sure, a hill too cautious, a slope means that predictions are "
        "too high or too low. A bar beyond the grey band is chance one time in twenty.",
    ),
    "risk-coverage": (
        "Refusing to answer when unsure",
        "The error rate among the rows of which the model is surest, against how many these are. A curve that rises to the "
        "right knows which rows it gets wrong.",
    ),
    "convergence": (
        "R-hat and effective draws as the run goes on",
        "R-hat should fall below the grey line, 1.01, and effective draws rise in a straight line. Where they level off the "
        "chains are in different places. Of what the network computes at the test rows, since weights can change places.",
    ),
    "efficiency": (
        "What effective draws cost",
        "Further right is cheaper: effective draws a second and a thousand gradients, warm-up included. They stand for the "
        "backend's own law; only if that is the posterior they are worth it.",
    ),
    "pairwise": (
        "Backends against each other",
        "Below the diagonal the mean of f, above it its posterior sd; a dot is a test row. Dots on the line agree. Above "
        "the diagonal, dots below the line mean that the backend of that row is surer than that of the column.",
    ),
    "agreement": (
        "Distance of predictions from the first backend",
        "The share of test rows whose class probabilities differ by at most so much. The further left, the closer.",
    ),
    "compare": (
        "Leave-one-out on the training rows",
        "Expected log predictive density with its standard error; further right is better. It should tell "
        "the same as the test rows.",
    ),
}


def report(
    table: Table,
    outcomes: Mapping[str, Outcome],
    out: Path,
    *,
    model: Any,
    cells: Sequence[Sequence[str]],
    failed: Mapping[str, str],
    command: str = "",
) -> Path:
    """Write ``report.html`` into ``out`` from the outcomes and from the pictures that are there; returns its path."""
    rows = f"{len(table.x)} training and {len(table.x_test)} test rows, {table.x.shape[1]} features"
    first = next(iter(outcomes.values())).posterior.draws.attrs
    facts = {"model": str(model), "data": f"{table.name}, {rows}", "seed": str(first.get("seed", "")), **versions()}
    facts["device"] = str(first.get("device", "cpu"))
    page = Page(
        title=f"{table.name}: {', '.join(outcomes)}",
        summary=f"One Bayesian neural network, {model}, under {_backends(len(outcomes))}. {rows}; target {table.target}.",
        cells=cells,
        legend=legend(table),
        doubts={name: doubts(found) for name, found in findings(table, outcomes, out).items()},
        pictures=_pictures(outcomes, out),
        notes=table.notes,
        failed=failed,
        command=command,
        facts=facts,
        files=sorted(p.name for p in out.iterdir() if p.is_file() and p.name != NAME),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return write(page, out / NAME)


def legend(table: Table) -> str:
    """What the columns of the table mean."""
    lppd = "LPPD, the mean log predictive density of a row in nats (higher is better)"
    of_classes = f"On the test rows: accuracy; {lppd}; ECE, the expected calibration error (0 is best)"
    of_numbers = (
        f"On the test rows, in units of {table.target}: RMSE (lower is better); {lppd}. Calibration error: the mean gap "
        "between the probability of an interval and the share of rows in it (0 is best)"
    )
    of_all = (
        "R-hat (1 is best) and ESS (effective draws): the worst over predictions and log likelihoods of all test rows; for "
        "MeanField the chains are restarts. Gradients: of one chain's log joint, summed over chains, warm-up included."
    )
    return f"{of_classes if table.classes else of_numbers}. {of_all}"


def findings(table: Table, outcomes: Mapping[str, Outcome], out: Path) -> dict[str, Findings]:
    """What is known of each backend's draws, for the sentences of doubt."""
    log_density = {name: o.prediction.log_prob(table.y_test).double() for name, o in outcomes.items()}
    best = max(log_density, key=lambda name: float(log_density[name].mean()))
    known, high = of("backend"), _high_k(out)
    found = {}
    for name, o in outcomes.items():
        draws, entry = o.posterior.draws, known.get(name)
        gap = log_density[best] - log_density[name]
        behind: dict[str, Any] = {
            "best": best,
            "behind": float(gap.mean()),
            "behind_se": float(gap.std()) / math.sqrt(len(gap)),
        }
        facts: dict[str, Any] = {} if entry is None else {"exact": entry.facts["exact"], "family": entry.facts["family"]}
        found[name] = Findings(
            chains=draws.chains,
            draws=draws.draws,
            rhat=o.row["max R-hat"],
            ess=o.row["min ESS"],
            divergences=int(draws.stats["diverging"].sum()) if "diverging" in draws.stats else 0,
            high_k=high.get(name, 0),
            rows=len(table.x),
            said=draws.attrs.get("doubts") or "",
            **facts,
            **_calibration(table, o),
            **(behind if name != best else {}),
        )
    return found


def _calibration(table: Table, outcome: Outcome) -> dict[str, Any]:
    """Regression: rows in 90 % intervals. Classes: accuracy, where its mean confidence would be calibrated."""
    y, n = table.y_test, len(table.y_test)
    if not table.classes:
        return {"inside": metrics.coverage(outcome.draws, y, 0.9), "nominal": 0.9, "inside_se": math.sqrt(0.09 / n)}
    sure = np.asarray(metrics.confidence(outcome.prediction.mean))
    return {
        "inside": metrics.accuracy(outcome.prediction.mean, y),
        "nominal": float(sure.mean()),
        "inside_se": float(np.sqrt((sure * (1 - sure)).sum())) / n,
        "inside_what": "of the test rows are classified rightly",
    }


def _high_k(out: Path) -> dict[str, int]:
    """Training rows with a high Pareto k, as the leave-one-out table says; {} without one."""
    path = out / "loo.csv"
    if not path.is_file():
        return {}
    table = pd.read_csv(path, index_col=0)
    return {} if "high_k" not in table else {str(name): int(k) for name, k in table["high_k"].items()}


def _pictures(outcomes: Mapping[str, Outcome], out: Path) -> list[Picture]:
    of_all = [Picture(out / f"{name}.png", title, how) for name, (title, how) in CAPTIONS.items()]
    of_each = [
        Picture(out / f"{name}-{kind}.png", f"{name}: {title}", how, about=name)
        for name in outcomes
        for kind, title, how in (("trace", "traces of f at four test rows", TRACE), ("rank", "ranks of f", RANK))
    ]
    return of_all + of_each


def versions() -> dict[str, str]:
    """Of this package, of what it stands on, and of the machine."""
    found = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    threads = torch.get_num_threads()
    return found | {"machine": f"{platform.system()} {platform.machine()}, torch on {threads} thread{'s' * (threads > 1)}"}


def _backends(count: int) -> str:
    return f"{count} backend{'s' if count > 1 else ''}"
