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
# # First steps
#
# You declare a Bayesian neural network, fit it with two different methods, look at whether they converged, predict with
# error bars, and compare the two. It takes about a minute.

# %%
import os

import numpy as np
import pandas as pd
import xarray as xr

import bnn_zoo as bz
from bnn_zoo.data import table

# %matplotlib inline
xr.set_options(display_style="text")
pd.set_option("display.float_format", "{:.4g}".format, "display.width", 120)
FAST = os.environ.get("BNN_ZOO_FAST") == "1"  # smaller settings, for automatic checks

# %% [markdown]
# ## The data
#
# 442 diabetes patients, ten measurements each; the target is how far the disease has progressed after one year. `table`
# splits off a fifth of the rows for testing and standardises with the statistics of the training rows. Any tensors or
# arrays of your own will do as well.

# %%
task = table("diabetes")
print(f"training rows {tuple(task.x.shape)}, test rows {tuple(task.x_test.shape)}")
print("features:", ", ".join(task.features))
print(f"one unit of y is {task.y_scale:.1f} on the scale of the disease score")

# %% [markdown]
# ## The model
#
# A network, a prior over its weights, and a likelihood for a row of data. `fan_in` gives each weight the standard
# deviation 1/√(inputs of its unit). The size of the noise is unknown and is inferred too.

# %%
model = bz.BNN(
    net=bz.nets.MLP(10, 1, hidden=(5 if FAST else 20,)),
    prior=bz.priors.Normal(scale=bz.priors.fan_in),
    likelihood=bz.likelihoods.Gaussian(),
)
model

# %% [markdown]
# The model is a plain Pyro model. What is inferred are its latent sites; those of the weights carry the names of the
# network's parameters.

# %%
data = (task.x, task.y)
{site.name: tuple(site.shape) for site in bz.LogJoint(model, data).sites}

# %% [markdown]
# ## Two fits
#
# **Mean field** finds the independent normal distribution over the weights that comes closest to the posterior, in the
# sense of the KL divergence. The 1,000 steps below are few, but enough for a tour.
#
# **Hamiltonian Monte Carlo** samples the posterior itself. Its result is exact up to Monte Carlo error, provided that the
# chains have converged. `compile=True` spends some seconds on compiling the gradient, and then each gradient is cheaper.

# %%
draws = 30 if FAST else 250
steps = 200 if FAST else 1000
mean_field = bz.fit(model, data, bz.MeanField(chains=2, steps=steps, draws=draws), seed=0, progress=False)
mean_field

# %%
hmc = bz.fit(model, data, bz.HMC(chains=4, warmup=draws, draws=draws, compile=not FAST), seed=0, progress=False)
hmc

# %% [markdown]
# ## Did it converge?
#
# Hidden units can be swapped without changing what the network computes. So R-hat of single weights says little: two
# chains may sit in two copies of the same solution. Look at the first two lines, which judge the network as a function:
# its predictions and its log likelihood at training rows. R-hat close to 1 (at most 1.01) and an effective sample size of
# some hundreds are good. Longer chains bring R-hat further down.

# %%
hmc.summary()

# %% [markdown]
# Chains of a variational method are restarts from different points, and their draws are independent. There a high R-hat
# says that the restarts ended at different places: there are several optima, or the steps were too few.

# %%
mean_field.summary()

# %% [markdown]
# The same as a picture: the network's output at three test rows, one colour for each chain. The colours should overlap.

# %%
prediction = hmc.predict(task.x_test)
bz.plots.function_trace(prediction.f, rows=[0, 40, 80], unit="standardised")[0].figure

# %% [markdown]
# ## Predictions with error bars
#
# `predict` gives the predictive distribution of new rows as a mixture over the draws. Its variance has two parts.
# *Epistemic*: the draws disagree about the function; more data would reduce it. *Aleatoric*: the noise of a single patient;
# more data would not reduce it.

# %%
predictions = {"MeanField": mean_field.predict(task.x_test), "HMC": prediction}
pd.DataFrame(
    {
        name: {
            "RMSE": bz.metrics.rmse(p.mean, task.y_test) * task.y_scale,
            "mean log density of a test row": float(p.log_prob(task.y_test).mean()) - np.log(task.y_scale),
            "epistemic sd": float(p.epistemic.mean()) * task.y_scale,
            "aleatoric sd": float(p.aleatoric.mean()) * task.y_scale,
            "share in 90 % intervals": bz.metrics.coverage(p.draws, task.y_test, 0.9),
        }
        for name, p in predictions.items()
    }
)

# %% [markdown]
# Both parts are larger under mean field: it is less sure of the function than the exact sampler, and it takes for noise
# what it cannot fit. An approximation may err in either direction.
#
# The 90 % intervals of the test patients, sorted by their true score. Rows whose truth lies outside are orange.

# %% tags=["thumbnail"]
figure, axes = bz.plots.panels(2)
y = task.y_test * task.y_scale + task.y_mean
for (name, p), ax in zip(predictions.items(), axes):
    bz.plots.intervals(p.draws * task.y_scale + task.y_mean, y, unit="disease score", ax=ax)
    ax.set_title(f"{name}: {ax.get_title()}")
axes[0].get_legend().remove()
figure

# %% [markdown]
# Now the two parts apart, for 30 test rows: the inner bar is one epistemic standard deviation to each side, the outer bar
# one standard deviation in all.

# %%
figure, axes = bz.plots.panels(2)
rows = np.arange(30)
for (name, p), ax in zip(predictions.items(), axes):
    centre, inner, outer = (np.asarray(v[rows]) * task.y_scale for v in (p.mean, p.epistemic, p.sd))
    centre = centre + task.y_mean
    ax.vlines(rows, centre - outer, centre + outer, color=bz.plots.SKY, lw=2, label="epistemic and aleatoric")
    ax.vlines(rows, centre - inner, centre + inner, color=bz.plots.BLUE, lw=4, label="epistemic")
    ax.plot(rows, y[rows], "k.", ms=5, label="truth")
    ax.set(title=name, xlabel="test row")
axes[0].set_ylabel("y [disease score]")
axes[1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
figure

# %% [markdown]
# ## Everything as InferenceData
#
# `to_inference_data` gives what every ArviZ function takes: an `InferenceData` with ArviZ 0.23, an `xarray.DataTree` with
# the same groups from ArviZ 1.0. Dimensions have names, and you can label them.

# %%
labels = {"0.weight_in": list(task.features)}
idata = {
    name: posterior.to_inference_data(test=(task.x_test, task.y_test), coords=labels)
    for name, posterior in {"MeanField": mean_field, "HMC": hmc}.items()
}
print("groups:", ", ".join(bz.export.groups(idata["HMC"])))
idata["HMC"]["posterior"]["0.weight"].mean(("chain", "draw")).sel({"0.weight_in": ["bmi", "bp"]})[:3]

# %% [markdown]
# `bz.plots.arviz_plot` draws any plot of ArviZ under its name in ArviZ 1.x, with both versions. The energy plot belongs to
# Hamiltonian samplers: the two curves should cover about the same range.

# %%
figure = bz.plots.arviz_plot("plot_energy", idata["HMC"])
figure.set_size_inches(6, 3)
figure

# %% [markdown]
# The noise is one number and not a weight, so it is identified, and its own posterior means something.

# %%
figure = bz.plots.arviz_plot("plot_forest", idata, var_names=["noise"], combined=True)
figure.set_size_inches(6, 2.5)
figure.axes[0].tick_params(labelsize=9)
figure

# %% [markdown]
# ## Which is better?
#
# Leave-one-out cross-validation (PSIS-LOO) estimates how well each fit predicts rows that it has not seen. `elpd` is in
# nats, summed over rows; higher is better. `elpd_diff` says how much worse than the best, `dse` is the standard error of
# that difference. `high_k` counts rows for which the estimate is not reliable.

# %%
comparison = bz.compare(idata)
comparison

# %%
bz.plots.compare(comparison).figure

# %% [markdown]
# ## Where to go from here
#
# - `posterior.save("hmc.nc")` writes a file that ArviZ reads in any version; `bz.load` reads it back.
# - `bnn-zoo compare` does all of this for four backends at once, on this data or on your own.
# - *What to expect of each backend* in the documentation tells when to use which, and how to see that one has failed.
