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
    name, task = "diabetes", table("diabetes")  # comes with scikit-learn
else:
    name, task = "boston", table(UCI / "bostonHousing.npz")
print(f"{name}: {len(task.x)} training rows, {len(task.x_test)} test rows, {task.x.shape[1]} inputs; one sd of y is {task.y_scale:.3g}")


# %%
def settings(full, fast):
    return fast if FAST else full


model = bz.BNN(
    bz.nets.MLP(task.x.shape[1], 1, hidden=(settings(10, 5),)),
    bz.priors.Normal(bz.priors.fan_in),
    bz.likelihoods.Gaussian(),
)

# %%
common = {"chains": 4, "compile": False, "processes": 1, "init": bz.density.Adam(settings(300, 100))}
nuts = {"target_accept": 0.6, "warmup_tree_depth": 5, "max_tree_depth": settings(6, 5), "mass_matrix": bz.FisherMass()}
optimised = {"steps": settings(1500, 200)}
backends = {
    "NUTS": bz.NUTS(**common, **nuts, warmup=settings(100, 30), draws=settings(150, 30)),
    "HMC": bz.HMC(**common, warmup=settings(100, 30), draws=settings(150, 30), max_leapfrogs=settings(63, 15)),
    "AdjustedMCLMC": bz.AdjustedMCLMC(**common, warmup=settings(200, 50), draws=settings(300, 30)),
    "MCLMC": bz.MCLMC(**common, warmup=settings(1500, 100), draws=settings(300, 30), thinning=settings(10, 2)),
    "SGHMC": bz.SGHMC(chains=4, steps=settings(5000, 300), batch_size=32, step_size=2e-5),
    "MeanField": bz.MeanField(chains=4, **optimised, draws=settings(250, 30)),
    "Laplace": bz.Laplace(chains=4, **optimised, draws=settings(250, 30), init=common["init"]),
    "ensemble": bz.DeepEnsemble(chains=settings(10, 3), **optimised, init=common["init"]),
}


# %%
def seconds():
    """Processor time of this process."""
    return sum(os.times()[:2])


def fitted(backend):
    """The posterior and the processor time that it took, from the call of fit to its answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what fit warns of is printed at the end
        begin = seconds()
        posterior = bz.fit(model, (task.x, task.y), backend, seed=0, progress=False)
        return posterior, seconds() - begin


runs = {b: fitted(backend) for b, backend in backends.items()}
predictions = {b: posterior.predict(task.x_test) for b, (posterior, _) in runs.items()}


# %%
def cost(posterior, took):
    said = posterior.draws.attrs
    return {
        "gradients": said["gradients"],
        "processor time, s": took,
        "gradients of warm-up, %": 100 * said.get("tuning_gradients", 0) / said["gradients"],
    }


costs = pd.DataFrame({b: cost(*run) for b, run in runs.items()}).T
costs


# %%
def mixing(prediction, paid):
    found = bz.diagnostics.convergence(prediction.f)
    least, middle = float(found.ess_bulk.min()), float(found.ess_bulk.median())
    return {
        "R-hat of f, worst": float(found.rhat.max()),
        "draws": prediction.f.shape[0] * prediction.f.shape[1],
        "ESS, least": least,
        "ESS, median": middle,
        "least a second": least / paid["processor time, s"],
        "median a second": middle / paid["processor time, s"],
        "least a 1,000 gradients": 1000 * least / paid["gradients"],
        "median a 1,000 gradients": 1000 * middle / paid["gradients"],
    }


pd.DataFrame({b: mixing(p, costs.loc[b]) for b, p in predictions.items()}).T


# %%
def score(prediction, reference):
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


scores = pd.DataFrame({b: score(p, predictions["NUTS"]) for b, p in predictions.items()}).T
scores

# %%
bz.plots.pit({b: p.draws for b, p in predictions.items()}, task.y_test).figure

# %%
for b, (posterior, _) in runs.items():
    print(f"{b}: {posterior.draws.attrs['doubts'] or 'nothing'}")
