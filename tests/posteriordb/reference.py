"""The reference numbers of posteriordb and the rule that draws have to pass."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

REFERENCE_DRAWS = 9500
"""Effective draws granted to a reference mean, out of its 10 000 stored ones."""

STANDARD_ERRORS = 4.0
LOG_SD = 0.1
RHAT = 1.01


def load(root: str | Path, name: str) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """``(data, reference)`` of one posterior; ``root`` is the folder that holds ``posteriordb/``."""
    content = json.loads((Path(root) / "posteriordb" / f"{name}.json").read_text())
    return content["data"], content["reference"]


def check(draws: Mapping[str, Any], reference: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """One row per parameter of the reference, with ``passed``.

    ``draws`` maps each parameter to ``[chain, draw]``. The mean may be off by four standard errors, ours and the
    reference's together; the log sd by 0.1; R-hat may be at most 1.01. Anything not finite fails.
    """
    from bnn_zoo.diagnostics import mcse_mean, rhat

    if set(draws) != set(reference):
        missing, extra = sorted(set(reference) - set(draws)), sorted(set(draws) - set(reference))
        raise ValueError(f"draws and reference name different parameters: missing {missing}, not asked for {extra}")
    rows = []
    for parameter, ref in reference.items():
        x = torch.as_tensor(draws[parameter]).double()
        mean, sd = float(x.mean()), float(x.std())
        mcse, split_rhat = float(mcse_mean(x)), float(rhat(x))
        error = math.sqrt(mcse**2 + ref["sd"] ** 2 / REFERENCE_DRAWS)
        log_sd = abs(math.log(sd) - math.log(ref["sd"])) if sd > 0 else math.inf
        rows.append(
            {
                "parameter": parameter,
                "mean": mean,
                "ref_mean": ref["mean"],
                "tolerance": STANDARD_ERRORS * error,
                "z": (mean - ref["mean"]) / error,
                "sd": sd,
                "ref_sd": ref["sd"],
                "log_sd": log_sd,
                "mcse": mcse,
                "rhat": split_rhat,
                "passed": abs(mean - ref["mean"]) <= STANDARD_ERRORS * error and log_sd <= LOG_SD and split_rhat <= RHAT,
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people: a line per parameter, failures marked."""
    width = max([len("parameter"), *(len(row["parameter"]) for row in rows)])
    lines = [
        f"{'parameter':<{width}} {'mean':>11} {'ref mean':>11} {'tolerance':>10} {'z':>7}"
        f" {'sd':>10} {'ref sd':>10} {'|dlog sd|':>9} {'rhat':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row['parameter']:<{width}} {row['mean']:>11.5g} {row['ref_mean']:>11.5g} {row['tolerance']:>10.3g}"
            f" {row['z']:>7.2f} {row['sd']:>10.4g} {row['ref_sd']:>10.4g} {row['log_sd']:>9.3f} {row['rhat']:>7.4f}"
            f" {'ok' if row['passed'] else 'FAIL'}"
        )
    return "\n".join(lines)
