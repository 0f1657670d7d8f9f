"""Bayesian optimisation of two test functions with a Bayesian network and, beside it, BoTorch's Gaussian process.

``python tests/benchmarks/bayesian_optimisation.py`` minimises Branin and Ackley in two dimensions: six Sobol points, then
one point at a time by the log expected improvement, with either model fitted anew each time. It prints how far the best
value so far is from the minimum against the number of evaluations, median and range over seeds. Needs
``pip install "bnn-zoo[botorch]"``. Rows go to ``--out``; ``--summary`` prints the table of that file.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import pandas as pd
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.optim import optimize_acqf
from botorch.test_functions import Ackley, Branin, SyntheticTestFunction
from botorch.utils.sampling import draw_sobol_samples
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo.estimators import BNNModel, BNNRegressor

FUNCTIONS: dict[str, SyntheticTestFunction] = {"Branin": Branin(), "Ackley-2": Ackley(dim=2)}
FIRST = 6
UNIT = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def network(x: Tensor, y: Tensor, seed: int) -> Model:
    """Draws of a 50-unit tanh network, as a BoTorch model."""
    return BNNModel(BNNRegressor(hidden=(50,), backend=BACKEND, prior=PRIOR, likelihood=LIKELIHOOD, seed=seed).fit(x, y))


def process(x: Tensor, y: Tensor, seed: int) -> Model:
    """BoTorch's default Gaussian process, its hyperparameters at the maximum of the marginal likelihood."""
    model = SingleTaskGP(x, y)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


BACKEND = bz.MCLMC(chains=4, warmup=1_000, draws=64, thinning=16, compile=True)
"""Short, as there are many fits; of this size all of it is compiled."""
PRIOR = bz.priors.PerSite(
    {
        "0.*": bz.priors.Normal(bz.priors.HalfCauchy(2.0)),
        "2.weight": bz.priors.Normal(bz.priors.HalfCauchy(bz.priors.fan_in)),
        "*": bz.priors.Normal(1.0),
    }
)
"""How fast the function changes and how far it goes is learnt, as the process learns its length scales."""
LIKELIHOOD = bz.likelihoods.Gaussian(0.03)
"""Hardly any noise, in standard deviations of y: the functions have none."""
MODELS = {"BNNModel": network, "SingleTaskGP": process}


def best_found(function: SyntheticTestFunction, fit: object, seed: int, evaluations: int) -> tuple[list[float], float]:
    """The smallest value after each evaluation, and the seconds that all took."""
    low, high = function.bounds.double()
    x = draw_sobol_samples(UNIT, n=FIRST, q=1, seed=seed).squeeze(1)
    began = time.perf_counter()
    value = lambda u: -function(low + (high - low) * u).unsqueeze(-1)
    y = value(x)
    while len(x) < evaluations:
        torch.manual_seed(1_000 * seed + len(x))
        model = fit(x, y, seed)
        improvement = LogExpectedImprovement if isinstance(model, SingleTaskGP) else qLogExpectedImprovement
        new, _ = optimize_acqf(improvement(model, y.max()), UNIT, q=1, num_restarts=8, raw_samples=256)
        x, y = torch.cat([x, new]), torch.cat([y, value(new)])
    return (-y.squeeze(-1)).cummin(0).values.tolist(), time.perf_counter() - began


def summary(rows: pd.DataFrame) -> str:
    """Median (smallest to largest) over seeds of the best value so far minus the minimum, for each function and model."""
    rows = rows[rows["evaluations"].isin([6, 10, 15, 20, 25, 30])]
    grouped = rows.groupby(["function", "model", "evaluations"])["regret"]
    shown = grouped.apply(lambda r: f"{r.median():.3g} ({r.min():.2g}–{r.max():.2g})")
    return str(shown.unstack().to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", nargs="+", default=list(FUNCTIONS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--evaluations", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("bayesian_optimisation.csv"))
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.summary:
        for seed in args.seeds:
            for function in args.functions:
                for model in args.models:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of short runs and rough likelihoods
                        best, seconds = best_found(FUNCTIONS[function], MODELS[model], seed, args.evaluations)
                    rows = pd.DataFrame(
                        {"function": function, "model": model, "seed": seed, "evaluations": range(1, len(best) + 1)}
                    )
                    rows["best"], rows["regret"] = best, [b - FUNCTIONS[function].optimal_value for b in best]
                    rows.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)
                    print(function, model, seed, f"{best[-1]:.4f}", f"{seconds:.0f} s", flush=True)
    print(summary(pd.read_csv(args.out)))


if __name__ == "__main__":
    main()
