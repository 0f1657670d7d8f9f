"""The posteriors of classical.py, and the process that samples one by NUTS: ``python _our_classical.py NAME DATA OUT``."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.compile_fx  # imports are nobody's seconds, and JAX's compiler comes with import jax
from _common import SHARED
from _ours import cpu, note
from torch import Tensor

import bnn_zoo as bz

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posteriordb.models import POSTERIORS
from posteriordb.reference import load

REGRESSION = "kidiq-kidscore_interaction"
COVARIATES = "kidiq_with_mom_work-kidscore_interaction_c"
"""The file with the rows of the regression."""


def _design(data: Mapping[str, Any]) -> Tensor:
    """1, mom_hs, mom_iq and their product, uncentred, ``[434, 4]``: columns whose coefficients are strongly correlated."""
    hs, iq = (torch.tensor(data[name], dtype=torch.float64) for name in ("mom_hs", "mom_iq"))
    return torch.stack([torch.ones_like(hs), hs, iq, hs * iq], 1)


def _rows(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _design(data).to(dtype), torch.tensor(data["kid_score"], dtype=dtype)


MODELS = POSTERIORS | {REGRESSION: replace(POSTERIORS["kidiq-kidscore_momhs"], data=_rows)}
"""Those of posteriordb, and the regression: flat coefficients, half-Cauchy(2.5) noise sd."""


def problem(name: str) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """``(data, reference)``: the reference of the regression is exact, the others are posteriordb's."""
    root = Path(os.environ.get("BNN_ZOO_DATA", SHARED))
    if name != REGRESSION:
        return load(root, name)
    data = load(root, COVARIATES)[0]
    x, y = (t.numpy() for t in _rows(data, torch.float64))
    return data, exact(x, y)


def exact(x: np.ndarray, y: np.ndarray, scale: float = 2.5) -> dict[str, dict[str, float]]:
    """Mean and sd of a regression with flat coefficients and a half-Cauchy(``scale``) noise sd s.

    Given s the coefficients are normal about the least-squares solution with covariance s² (X'X)⁻¹; what is left of s has
    the density s^-(n - k) exp(-RSS / 2 s²) / (1 + (s / scale)²), summed over a grid.
    """
    n, k = x.shape
    beta, _, _, _ = np.linalg.lstsq(x, y, rcond=None)
    rss = float(np.square(y - x @ beta).sum())
    s = np.sqrt(rss / (n - k)) * np.linspace(0.5, 2.0, 100_001)
    log_p = -(n - k) * np.log(s) - rss / (2 * s**2) - np.log1p((s / scale) ** 2)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    first, second = float(p @ s), float(p @ s**2)
    sd = np.sqrt(second * np.diag(np.linalg.inv(x.T @ x)))
    found = {f"beta[{i}]": {"mean": float(b), "sd": float(e)} for i, (b, e) in enumerate(zip(beta, sd, strict=True), 1)}
    return found | {"sigma": {"mean": first, "sd": (second - first**2) ** 0.5}}


def write_arguments(name: str, data: Mapping[str, Any], path: Path) -> Path:
    """The model's arguments in float64, and three points with our log density there: what contestants read."""
    args = MODELS[name].data(data, torch.float64)
    log_joint = bz.LogJoint(MODELS[name].model, args)
    generator = torch.Generator().manual_seed(0)
    position = torch.randn(3, log_joint.dim, generator=generator, dtype=torch.float64)
    points = {f"point_{site}": value.numpy() for site, value in log_joint.constrain(position).items()}
    arrays = {f"data_{i}": value.numpy() for i, value in enumerate(args)}
    np.savez(path, log_density=log_joint.value(position).numpy(), **arrays, **points)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--warmup", type=int, default=1_000)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    file, dtype = np.load(args.data), getattr(torch, args.dtype)
    count = sum(name.startswith("data_") for name in file.files)
    data = tuple(torch.tensor(file[f"data_{i}"], dtype=dtype) for i in range(count))
    begin, cpu_begin = time.perf_counter(), cpu()
    backend = bz.NUTS(warmup=args.warmup, draws=args.draws)
    posterior = bz.fit(MODELS[args.name].model, data, backend, seed=args.seed, progress=False)
    sites = {f"site_{name}": value.numpy() for name, value in posterior.draws.sites.items()}
    seconds, used = time.perf_counter() - begin, cpu() - cpu_begin
    attrs = posterior.draws.attrs
    how = "compiled" if attrs["compiled"] else "traced"
    np.savez(
        args.out,
        **sites,
        seconds=seconds,
        cpu=used,
        gradients=attrs["gradients"],
        note=f"{how}, {attrs['sampling_time']:.2f} s of sampling, {note(posterior)}",
    )


if __name__ == "__main__":
    main()
