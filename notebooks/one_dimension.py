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
# # One dimension, every backend: whose error bars can be believed?
#
# A network with one input can be drawn, and so can its uncertainty. Here every backend of the library sees the same data, with a hole in the
# middle, and the same small network. A sampler that is exact and was run for long says how wide the error bars should be.

# %%
import os
import warnings
from functools import partial

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pyro.infer.autoguide import AutoIAFNormal, AutoLowRankMultivariateNormal, AutoMultivariateNormal

import bnn_zoo as bz

# %matplotlib inline
pd.set_option("display.float_format", "{:.2f}".format, "display.width", 160)
FAST = os.environ.get("BNN_ZOO_FAST") == "1"  # smaller settings, for automatic checks
DEPTH, LEAPFROGS = (5, 32) if FAST else (8, 1000)  # of one trajectory at most: 2^8 - 1, and 1000


def size(full):
    """A number of steps or draws: a fiftieth, at least 20, in automatic checks."""
    return max(20, full // 50) if FAST else full


# %% [markdown]
# ## The data
#
# Thirty rows, to the left and to the right of a gap. We know the truth because we made it. To see your own data instead, change these three:
# inputs `x` `[n, 1]`, targets `y` `[n]`, and the `grid` on which error bars are drawn (and then forget about the coverage of the truth).

# %%
def truth(x):
    return torch.cos(2 * x) + x / 4


NOISE = 0.2
GAP = (-0.8, 0.8)
torch.manual_seed(1)
x = torch.cat([torch.linspace(-2.0, GAP[0], 15), torch.linspace(GAP[1], 2.0, 15)])[:, None]
y = truth(x[:, 0]) + NOISE * torch.randn(30)
grid = torch.linspace(-3, 3, 121)[:, None]

# %% [markdown]
# ## The model
#
# One hidden layer of 12 tanh units: 37 weights. The size of the noise is known, so that everyone has the same question to answer. Before any
# data, functions drawn from the prior look like this:

# %%
UNITS = 12
prior = bz.priors.PerSite({"0.*": bz.priors.Normal(2.0), "2.weight": bz.priors.Normal(bz.priors.fan_in), "*": bz.priors.Normal(1.0)})
model = bz.BNN(bz.nets.MLP(1, 1, hidden=(UNITS,)), prior, bz.likelihoods.Gaussian(NOISE))
before = bz.export.group(bz.prior_draws(model, grid, draws=size(2000)), "prior_predictive")
bz.plots.functions(grid, before["y_mean"])[0, 0].figure

# %% [markdown]
# ## The referee
#
# NUTS has no bias but that of a run too short. Eight chains, each from a start of its own.

# %%
referee = bz.fit(model, (x, y), bz.NUTS(chains=8, warmup=size(500), draws=size(1500), max_tree_depth=DEPTH), seed=0, progress=False)
f_referee = referee.predict(grid).f
rhats = bz.diagnostics.rhat(f_referee)
regions = {
    "at the data": ((grid >= -2) & (grid <= GAP[0]) | (grid >= GAP[1]) & (grid <= 2))[:, 0].numpy(),
    "in the gap": ((grid > GAP[0]) & (grid < GAP[1]))[:, 0].numpy(),
    "beyond the data": (grid.abs() > 2)[:, 0].numpy(),
}
pd.DataFrame(
    {
        where: {
            "largest R-hat of f": float(rhats[rows].max()),
            "fewest effective draws": float(bz.diagnostics.ess_bulk(f_referee)[rows].min()),
            "mean sd of f": float(f_referee.flatten(0, 1).std(0)[rows].mean()),
        }
        for where, rows in regions.items()
    }
)

# %% [markdown]
# ## A check from outside: infinitely many units
#
# With ever more hidden units, and output weights of variance 1/units, the prior over functions becomes a Gaussian process, and its posterior is
# a formula: no sampling. The covariance is an average over one unit's weights, here on a fine grid of them. It is a slightly different model, so
# its band need not be equal to the referee's; but it should not be far away.

# %%
z = np.linspace(-5, 5, 121)
w, b = (2.0 * v.ravel() for v in np.meshgrid(z, z))
mass = np.exp(-0.5 * (z**2 + z[:, None] ** 2)).ravel()
mass /= mass.sum()


def features(x):
    """Covariance of f at x and x' is features(x) @ features(x').T."""
    x = np.asarray(x, dtype=float)
    return np.hstack([np.tanh(x * w + b) * np.sqrt(mass), np.ones((len(x), 1))])


A, G = features(x), features(grid)
K = A @ A.T + NOISE**2 * np.eye(len(A))
gp_mean = G @ A.T @ np.linalg.solve(K, y.double().numpy())
gp_sd = np.sqrt(np.sum(G * G, 1) - np.sum((G @ A.T) * np.linalg.solve(K, A @ G.T).T, 1))

# %% [markdown]
# ## The contestants
#
# All the backends that there are, each with settings that its page recommends, or a little more than that. `MeanField` comes also with three
# richer families of Pyro: a normal law with correlations of rank 10, one with all correlations, and a normalising flow. `Laplace` also for the last
# layer alone. `NUTS` runs again, shorter and with another seed: how far it is from the referee is how far chance alone takes a good run.

# %%
rate = bz.schedules.cosine(0.02)
langevin = {"steps": size(60_000), "step_size": 1e-4, "compile": not FAST}
variational = {"chains": 2, "steps": size(5000), "draws": size(1000)}
optimised = {"steps": size(5000), "step_size": rate}
backends = {
    "NUTS": bz.NUTS(warmup=size(300), draws=size(500), max_tree_depth=DEPTH),
    "HMC": bz.HMC(warmup=size(300), draws=size(1000), max_leapfrogs=LEAPFROGS),
    "ChEES": bz.ChEES(warmup=size(300), draws=size(300), max_leapfrogs=LEAPFROGS),
    "MCLMC": bz.MCLMC(warmup=size(4000), draws=size(1000)),
    "AdjustedMCLMC": bz.AdjustedMCLMC(warmup=size(400), draws=size(1000)),
    "RandomWalk": bz.RandomWalk(warmup=size(5000), draws=size(1000), thinning=100),
    "SGLD": bz.SGLD(**langevin),
    "PSGLD": bz.PSGLD(**{**langevin, "step_size": 5e-3}),
    "SGHMC": bz.SGHMC(**{**langevin, "step_size": 4e-5}),
    "SGNHT": bz.SGNHT(**{**langevin, "step_size": 4e-5}),
    "MeanField": bz.MeanField(**variational),
    "MeanField, low rank": bz.MeanField(guide=partial(AutoLowRankMultivariateNormal, rank=10), **variational),
    "MeanField, full rank": bz.MeanField(guide=AutoMultivariateNormal, **variational),
    "MeanField, flow": bz.MeanField(guide=partial(AutoIAFNormal, hidden_dim=[64], num_transforms=2), **variational),
    "MCDropout": bz.MCDropout(rate=0.1, **variational),
    "MAP": bz.MAP(**optimised),
    "DeepEnsemble": bz.DeepEnsemble(chains=20, **optimised),
    "SWAG": bz.SWAG(chains=4, steps=size(20_000), batch_size=10, step_size=1e-4, draws=size(1000)),
    "Laplace": bz.Laplace(chains=4, draws=size(1000), **optimised),
    "Laplace, last layer": bz.Laplace(chains=4, draws=size(1000), sites=("2.*",), **optimised),
    "DiagonalLaplace": bz.DiagonalLaplace(chains=4, draws=size(1000), **optimised),
}
shown = {type(backend).__name__ for backend in backends.values()}
print("backends of the catalogue that are left out:", set(bz.catalogue.of("backend")) - shown)


# %%
def fitted(backend):
    """A posterior, its seconds of computing, and what ``fit`` warned of."""
    begin = sum(os.times()[:4])  # of this process and of those that it starts
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        posterior = bz.fit(model, (x, y), backend, seed=1, progress=False)
    return posterior, sum(os.times()[:4]) - begin, [str(w.message) for w in caught if w.category is UserWarning]


runs = {name: fitted(backend) for name, backend in backends.items()}

# %% [markdown]
# ## The bands
#
# Blue: the mean of f and two standard deviations of f to each side, noise not included. Between the dashed black lines: the same of the referee.

# %%
def flat(f):
    """Draws of f on the grid, ``[draw, n]``."""
    return f.flatten(0, 1).double().numpy()


f = {"the referee": flat(f_referee)} | {name: flat(posterior.predict(grid).f) for name, (posterior, _, _) in runs.items()}
bands = {name: (values.mean(0), values.std(0)) for name, values in f.items()}
bands["Gaussian process"] = gp_mean, gp_sd


def panel(ax, name):
    at, (mean, sd), (middle, spread) = grid[:, 0], bands[name], bands["the referee"]
    ax.fill_between(at, mean - 2 * sd, mean + 2 * sd, color=bz.plots.SKY, alpha=0.5, lw=0, label="mean ± 2 sd")
    ax.plot(at, mean, color=bz.plots.BLUE, lw=1.2, label="mean")
    for sign in (-2, 2):
        ax.plot(at, middle + sign * spread, "k--", lw=0.8, label="referee ± 2 sd" if sign > 0 else None)
    ax.plot(at, truth(at), color=bz.plots.ORANGE, lw=1.2, label="truth")
    ax.plot(x[:, 0], y, "k.", ms=3, label="data")
    ax.set_title(name, fontsize=9)


figure = Figure(figsize=(11, 13), layout="constrained", dpi=72)
axes = figure.subplots(6, 4, sharex=True, sharey=True)
for ax, name in zip(axes.flat, ["the referee", "Gaussian process", *runs], strict=False):
    panel(ax, name)
axes.flat[-1].set_visible(False)
axes[0, 0].set(xlim=(-3, 3), ylim=(-3.5, 3.5))
for ax in axes[:, 0]:
    ax.set_ylabel("f(x) [units of y]")
for ax in (*axes[-1, :3], axes[-2, 3]):
    ax.set_xlabel("x [units of x]")
    ax.xaxis.set_tick_params(labelbottom=True)
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower right", bbox_to_anchor=(0.97, 0.03), frameon=False)
figure

# %% [markdown]
# ## The same in numbers
#
# - **Width**: the mean sd of f, divided by the referee's, in three regions. Below 1 is too sure, above 1 too cautious.
# - **Distance**: how far each law of f(x) is from the referee's, as the Wasserstein distance (the mean gap between equal quantiles), averaged over
#   the grid and divided by the referee's mean sd. It sees wrong means and shapes too. The row of `NUTS` shows what chance alone gives.
# - **Covers the truth**: the share of the grid, where |x| ≤ 2, on which the true function lies within mean ± 2 sd.
# - **R-hat**: the largest of f on the grid. For restarts of an optimiser it tells whether they ended in the same place.
# - **Cost**: seconds of one busy core, compilation included, and gradients in thousands.
# - **Warned**: whether `fit` said by itself that something is wrong.

# %%
LEVELS = (np.arange(200) + 0.5) / 200


def distance(values):
    """Wasserstein-1 to the referee's law at each point of the grid, averaged."""
    gaps = np.abs(np.quantile(values, LEVELS, axis=0) - np.quantile(f["the referee"], LEVELS, axis=0))
    return gaps.mean() / bands["the referee"][1].mean()


def widths(name):
    return {f"width {where}": bands[name][1][rows].mean() / bands["the referee"][1][rows].mean() for where, rows in regions.items()}


def covered(name):
    mean, sd = bands[name]
    return (np.abs(truth(grid[:, 0]).numpy() - mean) <= 2 * sd)[~regions["beyond the data"]].mean()


def judged(name):
    posterior, seconds, warned = runs[name]
    rhat = float(bz.diagnostics.rhat(posterior.predict(grid).f).max())
    cost = {"R-hat": rhat, "seconds": seconds, "gradients / 1000": posterior.draws.attrs["gradients"] / 1000, "warned": bool(warned)}
    return widths(name) | {"distance": distance(f[name]), "covers the truth": covered(name)} | cost


normal = np.sqrt(2) * torch.erfinv(2 * torch.tensor(LEVELS) - 1).numpy()[:, None]
f["Gaussian process"] = gp_mean + gp_sd * normal
known = ("the referee", "Gaussian process")
rows = {name: widths(name) | {"distance": distance(f[name]), "covers the truth": covered(name)} for name in known}
table = pd.DataFrame(rows | {name: judged(name) for name in runs}).T
table

# %% [markdown]
# The widths as a picture; what is wider than 2.5 lies beyond the axis.

# %%
order = table.drop("the referee").sort_values("width in the gap").index
figure = Figure(figsize=(8, 6), layout="constrained", dpi=72)
ax = figure.subplots()
for where, colour, marker in zip(regions, (bz.plots.BLUE, bz.plots.ORANGE, bz.plots.GREEN), "osD"):
    ax.plot(table.loc[order, f"width {where}"].astype(float), range(len(order)), marker, color=colour, label=where)
ax.axvline(1, color="k", lw=0.8)
ax.set_yticks(range(len(order)), order)
ax.set(xlabel="mean sd of f, relative to the referee's", xlim=(-0.05, 2.5))
ax.grid(axis="y", color="0.9")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
figure

# %% [markdown]
# What `fit` warned of, in its own words:

# %%
for name, (_, _, warned) in runs.items():
    for text in warned:
        print(f"{name}: {text[:230]}{' …' if len(text) > 230 else ''}\n")

# %% [markdown]
# ## Why: the step of SGLD
#
# SGLD never rejects a step, so its draws are blurred by the step size, and by minibatch noise where batches are small. Smaller steps are less biased,
# but then the same number of steps does not travel far. So: one number of steps, steps sizes that fall by four, all rows or ten at a time.

# %%
steps = {}
for epsilon in (1.6e-3, 1e-4) if FAST else (1.6e-3, 4e-4, 1e-4, 2.5e-5):
    for rows in (None, 10):
        posterior, _, _ = fitted(bz.SGLD(steps=size(60_000), step_size=epsilon, batch_size=rows, compile=not FAST))
        name = f"ε = {epsilon:g}, {rows or 'all'} rows"
        f_here = posterior.predict(grid).f
        f[name], bands[name] = flat(f_here), (flat(f_here).mean(0), flat(f_here).std(0))
        used = float(posterior.draws.stats["step_size"].mean())
        steps[name] = {"ε used / 1e-5": 1e5 * used} | widths(name) | {"distance": distance(f[name]), "R-hat": float(bz.diagnostics.rhat(f_here).max())}
pd.DataFrame(steps).T

# %% [markdown]
# ## Why: the family of variational inference
#
# Variational inference makes the ELBO as large as its family allows. The log evidence minus the ELBO is the KL divergence from the family's best to
# the posterior, so a difference between two ELBOs is a difference in KL, in nats. Each restart has its own.

# %%
families = [name for name in runs if name.startswith("MeanField")]
elbos = {name: (runs[name][0].draws.stats["lp"] - runs[name][0].draws.stats["log_q"]).mean(1).tolist() for name in families}
pd.DataFrame(elbos, index=[f"restart {k + 1}" for k in range(2)]).T

# %% [markdown]
# ## What the numbers say
#
# - **The referee holds.** R-hat of f is 1.00 everywhere, and the limit of infinitely many units, which is found without sampling, has a band of 0.90 to 0.94 of its
#   width. Four of its 12,000 transitions diverged.
# - **Exact samplers agree with it, once they have converged.** NUTS, HMC, MCLMC and AdjustedMCLMC have widths of 0.97 to 1.02 and distances of 0.02 to 0.03.
#   ChEES did not converge here, R-hat 1.56, and its distance is 0.16; `fit` said so.
# - **The Langevin samplers are slow rather than wrong**: SGLD, SGHMC and SGNHT have distances of 0.07 to 0.10 with R-hat of 1.06 to 1.20. The table of steps
#   shows both faults. Large steps blur: 1.11 to 1.40 at the data, more with ten rows than with all. The smallest do not travel: 0.75 beyond the data, R-hat above 1.3.
#   PSGLD's step was too large: four times too wide at the data, and its R-hat of 1.00 does not show it. The temperature does.
# - **Normal families are too cautious where there are data and too sure where there are none.** MeanField: 1.79 at the data, 0.53 in the gap. Correlations help in the
#   gap (0.62, then 0.73) and raise the ELBO, but even with all of them the band at the data is 1.6 times too wide. MeanField is wrong in both directions.
# - **The flow** ended in two optima, 88 nats apart: a richer family is no help before it is optimised. `fit` warned.
# - **Points and what is built around one are the surest of all.** The ensemble's 20 members differ by a twentieth of the right width at the data and a fifth in the gap;
#   SWAG has 0.27 in the gap, MC dropout 0.49, a Laplace approximation of the last layer 0.52. The ensemble covers the truth on 2 % of the grid.
# - **Laplace with the whole Hessian is useless here** (17 to 49 times too wide): the point that was reached is no mode in one to three directions, and `fit` said so.
#   A diagonal Hessian is 3.3 times too wide at the data.
# - **No warning is no proof.** MeanField and the last-layer Laplace were not warned of, and cover the truth on 65 % and 52 % of the grid; the referee covers 86 %.
