"""Gradients that NUTS needs with each mass matrix: what the default is chosen by.

``python tests/benchmarks/mass.py [--posteriors …] [--masses …] [--seeds 0 1] [--csv FILE]``. Default settings of ``bz.NUTS``
but for ``mass_matrix``, 4 chains of 500 + 500, one process, float64 for the statistical models and float32 for networks.
Counted are gradients of one chain's log joint, warm-up included, so the machine and its load do not matter. The ESS is the
smallest bulk ESS over the unconstrained parameters; for networks over log likelihoods of 50 rows. ``z`` is the largest
distance of a posterior mean from the reference in Monte Carlo standard errors, where there is a reference.

Posteriors: the ten of posteriordb; a regression with an uncentred interaction, and one on raw columns; Gaussians of random
correlations, condition 1e4, in 20, 100 and 300 dimensions; eight schools centred, a funnel; Neal's networks and those of the
README and of UCI concrete.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from _common import SHARED, concrete

import bnn_zoo as bz
from bnn_zoo.diagnostics import ess_bulk, mcse_mean, rhat

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posteriordb.models import POSTERIORS, flat_regression
from posteriordb.reference import load

ROOT = Path(os.environ.get("BNN_ZOO_DATA", SHARED))
MASSES: dict[str, Any] = {
    "default": None,
    "diagonal": bz.DiagonalMass(),
    "dense": bz.DenseMass(),
    "fisher": bz.FisherMass(),
    "low_rank": bz.LowRankFisherMass(),
    "dense_fisher": bz.DenseFisherMass(),
}
COLUMNS = [
    "posterior",
    "dim",
    "mass",
    "seed",
    "gradients",
    "tuning",
    "ess",
    "per_1000",
    "divergences",
    "rhat",
    "z",
    "seconds",
]
Model = tuple[Callable[..., Any], tuple[Any, ...], Callable[[Any], dict[str, torch.Tensor]], dict[str, float]]


def sites(posterior: bz.Posterior) -> dict[str, torch.Tensor]:
    """All sites, positive ones on the log scale, ``{name[i]: [chain, draw]}``."""
    found = {}
    for name, value in posterior.draws.sites.items():
        flat = value.reshape(*value.shape[:2], -1)
        flat = flat.log() if bool((flat > 0).all()) else flat
        found |= {f"{name}[{i}]": flat[..., i] for i in range(flat.shape[-1])}
    return found


def rows(posterior: bz.Posterior) -> dict[str, torch.Tensor]:
    (values,) = posterior.log_likelihood().values()
    flat = values.reshape(*values.shape[:2], -1)
    return {f"row {i}": flat[..., i] for i in range(0, flat.shape[-1], max(1, flat.shape[-1] // 50))}


def of_posteriordb(name: str) -> Model:
    posterior = POSTERIORS[name]
    data, reference = load(ROOT, name)
    means = {parameter: ref["mean"] for parameter, ref in reference.items()}
    return posterior.model, posterior.data(data, torch.float64), lambda p: posterior.parameters(p.draws.sites), means


def interaction(raw: bool) -> Model:
    """kid_score ~ mom_hs + mom_iq + mom_hs · mom_iq, 434 rows, five parameters; ``raw``: on mom_work, its square, mom_iq."""
    data, _ = load(ROOT, "kidiq_with_mom_work-kidscore_interaction_c")
    high, iq, work, y = (torch.tensor(data[k], dtype=torch.float64) for k in ("mom_hs", "mom_iq", "mom_work", "kid_score"))
    columns = [torch.ones_like(y), work, work**2, iq] if raw else [torch.ones_like(y), high, iq, high * iq]
    return flat_regression, (torch.stack(columns, 1), y), sites, {}


def gaussian(dim: int, condition: float) -> Model:
    generator = torch.Generator().manual_seed(dim)
    axes = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator)).Q
    factor = axes * torch.logspace(0, 0.5 * torch.tensor(condition).log10().item(), dim, dtype=torch.float64)

    def model(factor: torch.Tensor, y: torch.Tensor) -> None:
        pyro.sample("unrelated", dist.Normal(0.0, 1.0), obs=y)
        pyro.sample(
            "u", dist.MultivariateNormal(factor.new_zeros(dim), scale_tril=torch.linalg.cholesky(factor @ factor.mT))
        )

    return model, (factor, factor.new_zeros(())), sites, {f"u[{i}]": 0.0 for i in range(dim)}


def eight_schools() -> Model:
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
    sigma = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)

    def model(sigma: torch.Tensor, y: torch.Tensor) -> None:
        mu, tau = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", 8):
            pyro.sample("y", dist.Normal(pyro.sample("theta", dist.Normal(mu, tau)), sigma), obs=y)

    return model, (sigma, y), sites, {}


def funnel() -> Model:
    def model(y: torch.Tensor) -> None:
        pyro.sample("unrelated", dist.Normal(0.0, 1.0), obs=y)
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("z", dist.Normal(torch.zeros(9), (0.5 * v).exp()).to_event(1))

    return model, (torch.zeros((), dtype=torch.float64),), sites, {"v[0]": 0.0}


def network(x: torch.Tensor, y: torch.Tensor, hidden: int) -> Model:
    net = bz.nets.MLP(x.shape[1], 1, hidden=(hidden,))
    return bz.BNN(net, bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian()), (x, y), rows, {}


def neal(name: str) -> Model:
    file = ROOT / "fbm" / {"regression": "rdata", "binary": "bdata"}[name]
    table = torch.tensor([[float(v) for v in line.split()] for line in file.read_text().splitlines() if line.strip()])
    table = table[:100] if name == "regression" else table[:300]
    model = getattr(bz.zoo, f"neal_{name}")()
    return model, (table[:, :-1], table[:, -1] if name == "regression" else table[:, -1].float()), rows, {}


def diabetes() -> Model:
    table = bz.data.table("diabetes")
    return network(table.x, table.y, 20)


ALL: dict[str, Callable[[], Model]] = {
    **{name: lambda name=name: of_posteriordb(name) for name in POSTERIORS},
    "interaction": lambda: interaction(False),
    "raw columns": lambda: interaction(True),
    **{f"gaussian {d}": lambda d=d: gaussian(d, 1e4) for d in (20, 100, 300)},
    "eight schools, centred": eight_schools,
    "funnel": funnel,
    "neal regression": lambda: neal("regression"),
    "neal binary": lambda: neal("binary"),
    "network 10-20-1": diabetes,
    "network 8-50-1": lambda: network(*concrete(), 50),
}


def measured(name: str, mass: str, seed: int) -> dict[str, Any]:
    model, data, read, means = ALL[name]()
    settings = {} if mass == "default" else {"mass_matrix": MASSES[mass]}
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = bz.NUTS(chains=4, warmup=500, draws=500, processes=1, **settings)
        posterior = bz.fit(model, data, backend, seed=seed, progress=False)
    seconds = time.perf_counter() - begin
    draws = {k: v.double() for k, v in read(posterior).items()}
    ess = min(float(ess_bulk(v)) for v in draws.values())
    z = [abs(float(v.mean()) - means[k]) / float(mcse_mean(v)) for k, v in draws.items() if k in means]
    attrs = posterior.draws.attrs
    return {
        "posterior": name,
        "dim": sum(v[0, 0].numel() for v in posterior.draws.sites.values()),
        "mass": mass,
        "seed": seed,
        "gradients": attrs["gradients"],
        "tuning": attrs["tuning_gradients"],
        "ess": round(ess),
        "per_1000": round(1000 * ess / attrs["gradients"], 3),
        "divergences": attrs["divergences"],
        "rhat": round(max(float(rhat(v)) for v in draws.values()), 3),
        "z": round(max(z), 1) if z else "",
        "seconds": round(seconds, 1),
    }


def runs(args: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    for name in args.posteriors:
        for seed in args.seeds:
            for mass in args.masses:
                yield name, mass, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posteriors", nargs="+", default=list(ALL), choices=list(ALL), metavar="NAME")
    parser.add_argument("--masses", nargs="+", default=list(MASSES), choices=list(MASSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(" | ".join(COLUMNS))
    for run in runs(args):
        row = measured(*run)
        print(" | ".join(str(row[c]) for c in COLUMNS), flush=True)
        if args.csv:
            new = not args.csv.exists()
            with args.csv.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if new:
                    writer.writeheader()
                writer.writerow(row)


if __name__ == "__main__":
    main()
