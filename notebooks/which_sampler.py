# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which sampler for a real regression?
#
# WORDS

# %%
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import bnn_zoo as bz
from bnn_zoo.data import table

# %matplotlib inline
pd.set_option("display.float_format", "{:.4g}".format, "display.width", 160)
FAST = os.environ.get("BNN_ZOO_FAST") == "1"  # smaller settings, for automatic checks
UCI = Path(os.environ.get("BNN_ZOO_DATA", "absent")) / "uci"

# %%
if FAST or not UCI.exists():
    tasks = {"diabetes": table("diabetes")}  # comes with scikit-learn
else:
    tasks = {name: table(UCI / f"{file}.npz") for name, file in {"boston": "bostonHousing", "concrete": "concrete"}.items()}
units = {"boston": "$1,000", "concrete": "MPa", "diabetes": "score"}
pd.DataFrame(
    {
        name: {
            "training rows": len(t.x),
            "test rows": len(t.x_test),
            "inputs": t.x.shape[1],
            "unit of y": units[name],
            "sd of y": t.y_scale,
        }
        for name, t in tasks.items()
    }
).T


# %%
def model(inputs):
    net = bz.nets.MLP(inputs, 1, hidden=(5 if FAST else 50,))
    return bz.BNN(net, bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())


# %%
def settings(full, fast):
    return fast if FAST else full


common = {"chains": 4, "compile": not FAST, "processes": 1, "init": bz.density.Adam(settings(1000, 100))}
nuts = {"target_accept": 0.6, "warmup_tree_depth": 6, "max_tree_depth": settings(8, 5), "mass_matrix": bz.FisherMass()}
optimised = {"steps": settings(5000, 200)}
backends = {
    "NUTS": bz.NUTS(**common, **nuts, warmup=settings(200, 30), draws=settings(300, 30)),
    "HMC": bz.HMC(**common, warmup=settings(200, 30), draws=settings(300, 30), max_leapfrogs=settings(255, 15)),
    "AdjustedMCLMC": bz.AdjustedMCLMC(**common, warmup=settings(500, 50), draws=settings(2000, 30)),
    "MCLMC": bz.MCLMC(**common, warmup=settings(5000, 100), draws=settings(2000, 30), thinning=settings(10, 2)),
    "SGHMC": bz.SGHMC(chains=4, steps=settings(40_000, 300), batch_size=32, step_size=2e-5),
    "MeanField": bz.MeanField(chains=4, **optimised, draws=settings(500, 30)),
    "Laplace": bz.Laplace(chains=4, **optimised, draws=settings(500, 30), init=common["init"]),
    "ensemble": bz.DeepEnsemble(chains=settings(10, 3), **optimised, init=common["init"]),
}


# %%
def seconds():
    """Processor time of this process and of the compilers that it started."""
    return sum(os.times()[:4])


def fitted(task, backend):
    """The posterior and the processor time that it took, from the call of fit to its answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what fit warns of is shown in a table below
        begin = seconds()
        posterior = bz.fit(model(task.x.shape[1]), (task.x, task.y), backend, seed=0, progress=False)
        return posterior, seconds() - begin


runs = {name: {b: fitted(t, backend) for b, backend in backends.items()} for name, t in tasks.items()}
predictions = {
    name: {b: posterior.predict(tasks[name].x_test) for b, (posterior, _) in of.items()} for name, of in runs.items()
}


# %%
def cost(posterior, took):
    said = posterior.draws.attrs
    return {
        "gradients": said["gradients"],
        "seconds": took,
        "compiling": said.get("compile_time") or 0.0,
        "warm-up": said["tuning_time"] - (said.get("compile_time") or 0.0),
        "draws": said["sampling_time"],
    }


costs = {name: pd.DataFrame({b: cost(*run) for b, run in of.items()}).T for name, of in runs.items()}
pd.concat(costs)


# %%
def mixing(prediction, paid):
    found = bz.diagnostics.convergence(prediction.f)
    least, middle = float(found.ess_bulk.min()), float(found.ess_bulk.median())
    return {
        "R-hat of f, worst": float(found.rhat.max()),
        "draws": prediction.f.shape[0] * prediction.f.shape[1],
        "ESS, least": least,
        "ESS, median": middle,
        "least a second": least / paid["seconds"],
        "median a second": middle / paid["seconds"],
        "least a 1,000 gradients": 1000 * least / paid["gradients"],
        "median a 1,000 gradients": 1000 * middle / paid["gradients"],
    }


mixed = {
    name: pd.DataFrame({b: mixing(p, costs[name].loc[b]) for b, p in of.items()}).T for name, of in predictions.items()
}
pd.concat(mixed)


# %%
def score(prediction, task, reference):
    y, scale = task.y_test, task.y_scale
    density = prediction.log_prob(y) - np.log(scale)
    behind = density - (reference.log_prob(y) - np.log(scale))
    return {
        "RMSE": bz.metrics.rmse(prediction.mean, y) * scale,
        "log density": float(density.mean()),
        "less NUTS": float(behind.mean()),
        "its standard error": float(behind.std() / len(y) ** 0.5),
        "in 50 %": bz.metrics.coverage(prediction.draws, y, 0.5),
        "in 90 %": bz.metrics.coverage(prediction.draws, y, 0.9),
        "noise": float(prediction.aleatoric.mean()) * scale,
        "sd of f": float(prediction.epistemic.mean()) * scale,
    }


scores = {
    name: pd.DataFrame({b: score(p, tasks[name], of["NUTS"]) for b, p in of.items()}).T for name, of in predictions.items()
}
pd.concat(scores)

# %%
for name, of in runs.items():
    for b, (posterior, _) in of.items():
        print(f"{name}, {b}: {posterior.draws.attrs['doubts'] or 'nothing'}")
