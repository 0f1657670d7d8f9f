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
# # What does a prior believe, and does a colder posterior predict better?

# %%
import os
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn

import bnn_zoo as bz
from bnn_zoo import priors
from bnn_zoo.priors import he

# %matplotlib inline
pd.set_option("display.float_format", "{:.4g}".format, "display.width", 160)
FAST = os.environ.get("BNN_ZOO_FAST") == "1"  # smaller settings, for automatic checks


def many(full, fast):
    return fast if FAST else full


def drawn(net, prior, x, draws):
    """Functions from the prior at the rows of x: ``[draw, n]``, and all draws of the weights by name."""
    model = bz.BNN(net, prior, bz.likelihoods.Gaussian(0.1))
    idata = bz.prior_draws(model, x, draws=draws, seed=0)
    return idata["prior_predictive"]["y_mean"].values[0], idata["prior"]


# %% [markdown]
# ## Width

# %%
fortuin = priors.PerSite({"*.bias": priors.Normal(1.0), "*": priors.Normal(he)})
grid = torch.linspace(-3, 3, 61)[:, None]
widths = (3, 30, 300)
by_width = {
    f"{h} units": drawn(bz.nets.MLP(1, 1, hidden=(h,), activation=nn.ReLU), fortuin, grid, many(4000, 200))[0] for h in widths
}
bz.plots.functions(grid, by_width)[0, 0].figure


# %%
def first(x, weight=2.0, bias=1.0):
    """Covariance of what goes into the first hidden layer, for standard deviations √(weight/inputs) and √bias."""
    return bias + weight * x @ x.T / x.shape[1]


def relu_next(K, weight=2.0, bias=1.0):
    """Covariance after a layer of ReLU: bias + weight E[relu(u) relu(v)], (u, v) normal with covariance K."""
    scale = np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    angle = np.arccos(np.clip(K / scale, -1, 1))
    return bias + weight * scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))


K = relu_next(first(grid.double().numpy()))
at = 40  # x = 1
k = 1 + 2 * float(grid[at]) ** 2


def tails(f, units):
    z = f[:, at].astype(float) / np.sqrt(K[at, at])
    return {
        "variance of f(1)": f[:, at].astype(float).var(),
        "exact": K[at, at],
        "excess kurtosis": (z**4).mean() - 3,
        "standard error": (z**4).std() / len(z) ** 0.5,
        "exact ": 15 / units * k**2 / (k + 1) ** 2,
        "beyond 3 sd, in 1,000": 1000 * (abs(z) > 3).mean(),
    }


pd.DataFrame({name: tails(f, h) for (name, f), h in zip(by_width.items(), widths)}).T


# %% [markdown]
# ## Depth

# %%
class Erf(nn.Module):
    def forward(self, x):
        return torch.erf(x)


def erf_next(K, weight, bias):
    """Covariance after a layer of erf: bias + weight E[erf(u) erf(v)]. Williams 1997."""
    scale = 1 + 2 * K.diagonal()
    return bias + weight * 2 / np.pi * np.arcsin(2 * K / np.sqrt(np.outer(scale, scale)))


def gain(g, b):
    return priors.PerSite({"*.bias": priors.Normal(b), "*": priors.Normal(lambda shape: g / shape[1] ** 0.5)})


angle = torch.linspace(0, torch.pi, 25)
circle = 2**0.5 * torch.stack([angle.cos(), angle.sin()], 1)
depths = (1, 4, 16)
families = {
    "ReLU, weights √2/√inputs": (nn.ReLU, fortuin, relu_next, (2.0, 1.0)),
    "erf, weights 1/√inputs": (Erf, gain(1.0, 0.1), erf_next, (1.0, 0.01)),
    "erf, weights 4/√inputs": (Erf, gain(4.0, 0.1), erf_next, (16.0, 0.01)),
}


def correlation(f):
    return np.corrcoef(f.astype(float).T)[0]


def limit(after, numbers, depth):
    K = first(circle.double().numpy(), *numbers)
    for _ in range(depth):
        K = after(K, *numbers)
    return K[0] / np.sqrt(K[0, 0] * K.diagonal())


figure, axes = bz.plots.panels(3, columns=3)
deep = {}
for ax, (name, (activation, prior, after, numbers)) in zip(axes, families.items()):
    for depth, colour in zip(depths, bz.plots.PALETTE):
        net = bz.nets.MLP(2, 1, hidden=(many(100, 20),) * depth, activation=activation)
        f = deep[name, depth] = drawn(net, prior, circle, many(1000, 50))[0]
        ax.plot(np.rad2deg(angle), limit(after, numbers, depth), color=colour, lw=1.5)
        ax.plot(np.rad2deg(angle), correlation(f), "o", color=colour, ms=4, label=f"{depth} hidden layers")
    ax.set(title=name, xlabel="angle between the two inputs [degrees]", xticks=range(0, 181, 45))
axes[0].set_ylabel("correlation of f at the two inputs")
axes[0].legend(frameon=False, fontsize="small")
figure


# %% [markdown]
# ## Heavy tails

# %%
def heavy(law, scale):
    return priors.PerSite({"0.*": priors.Normal(5.0), "2.weight": law(scale), "2.bias": priors.Normal(0.1)})


laws = {
    "normal": heavy(priors.Normal, lambda shape: shape[1] ** -0.5),
    "Student-t": heavy(priors.StudentT, lambda shape: (3 * shape[1]) ** -0.5),
    "Cauchy": heavy(priors.Cauchy, lambda shape: shape[1] ** -1.0),
}
fine = torch.linspace(-3, 3, 301)[:, None]
sizes = (10, 1000)
tailed = {
    law: {f"{h} units": drawn(bz.nets.MLP(1, 1, hidden=(h,)), prior, fine, many(2000, 50)) for h in sizes}
    for law, prior in laws.items()
}


# %%
def jumps(f, weights):
    v = np.square(weights["2.weight"].values[0, :, 0].astype(float))
    steps = abs(np.diff(f, axis=1))
    middle, far = np.quantile(abs(f[:, 200]), [0.5, 0.99])
    return {
        "Σ v⁴ / (Σ v²)²": np.mean((v**2).sum(1) / v.sum(1) ** 2),
        "steepest hundredth's share of the way": np.median(np.sort(steps, 1)[:, -3:].sum(1) / steps.sum(1)),
        "median |f(1)|": middle,
        "99 % of |f(1)| / median": far / middle,
    }


pd.DataFrame({f"{law}, {size}": jumps(*d) for law, of in tailed.items() for size, d in of.items()}).T

# %%
figure, axes = bz.plots.panels(6, columns=2)
for ax, (law, size) in zip(axes, [(law, size) for law in laws for size in tailed[law]]):
    f = tailed[law][size][0][:6]
    for line, colour in zip((f - f.mean(1, keepdims=True)) / f.std(1, keepdims=True), bz.plots.PALETTE):
        ax.plot(fine[:, 0], line, color=colour, lw=1)
    ax.set(title=f"{law}, {size}", xlabel="x")
for ax in axes[::2]:
    ax.set_ylabel("f(x) [its own sd over x]")
figure

# %% [markdown]
# ## Correlated filters

# %%
def by_channels(shape):
    """fortuin_conv's scale: √2 over the root of the input channels."""
    return (2 / shape[1]) ** 0.5


def filters(law):
    return priors.PerSite({"*.bias": priors.Normal(1.0), "*": law})


X, label = load_digits(return_X_y=True)
image = nn.functional.interpolate(torch.tensor(X[2].reshape(1, 1, 8, 8) / 8 - 1).float(), size=28, mode="bicubic")
conv = bz.zoo.fortuin_conv(width=many(50, 4)).net
filtered = {
    "independent": filters(priors.Normal(by_channels)),
    "correlated, length 1": filters(priors.SpatialNormal(by_channels)),
    "correlated, length 3": filters(priors.SpatialNormal(by_channels, length=3.0)),
}
images = {
    name: bz.prior_draws(bz.BNN(conv, prior, bz.likelihoods.Categorical()), image, draws=many(40, 3), seed=0)
    for name, prior in filtered.items()
}
first_layer = {name: torch.tensor(d["prior"]["0.weight"].values[0]).flatten(0, 1) for name, d in images.items()}

# %%
from matplotlib.figure import Figure

shown = 8
figure = Figure(figsize=(9, 7.2), layout="constrained")
axes = figure.subplots(6, shown, gridspec_kw={"height_ratios": [0.6, 1] * 3})
for i, (name, w) in enumerate(first_layer.items()):
    seen = nn.functional.conv2d(image, w[:shown], padding=1)[0]
    for j in range(shown):
        for ax, values in ((axes[2 * i, j], w[j, 0]), (axes[2 * i + 1, j], seen[j])):
            most = float(abs(values).max())
            ax.imshow(values, cmap="PuOr", vmin=-most, vmax=most)
            ax.set(xticks=[], yticks=[])
    axes[2 * i, 0].set_title(f"{name}: filters, and the digit seen through them", loc="left", fontsize="medium")
figure

# %%
places = np.indices((3, 3)).reshape(2, -1).T
period = np.linspace(2, 20, 60)
wave = 2 * np.pi / period


def exact(length):
    """Mean square of what a filter answers to a grating: ½ Σ C(p, q) cos(ω (p − q)), and C = 2 exp(−distance / length)."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    C = 2 * (np.exp(-apart / length) if length else np.eye(9))
    return [0.5 * (C * np.cos(w * (places[:, None, 1] - places[None, :, 1]))).sum() for w in wave]


figure, (ax,) = bz.plots.panels(1)
for (name, w), length, colour in zip(first_layer.items(), (0, 1.0, 3.0), bz.plots.PALETTE):
    answer = w.flatten(1).double().numpy() @ np.exp(1j * np.outer(places[:, 1], wave))
    ax.plot(period, exact(length), color=colour, lw=1.5)
    ax.plot(period[::4], 0.5 * (abs(answer) ** 2).mean(0)[::4], "o", color=colour, ms=4, label=name)
ax.set(xlabel="period of the grating [pixels]", ylabel="mean square of the filtered grating")
ax.legend(frameon=False)
figure

# %% [markdown]
# ## What classes a prior expects

# %%
x = torch.tensor((X - X.mean()) / X.std()).float()
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
rows, test = order[: many(300, 60)], order[many(300, 60) :]
classes = {
    "N(0, 2/inputs)": fortuin,
    "Student-t": priors.PerSite({"*.bias": priors.Normal(1.0), "*": priors.StudentT(he)}),
    "N(0, 1)": priors.Normal(1.0),
}


def network(prior):
    hidden = (many(20, 5),) * 2
    return bz.BNN(bz.nets.MLP(64, 10, hidden=hidden, activation=nn.ReLU), prior, bz.likelihoods.Categorical())


def expects(p):
    """p [draw, image, class]."""
    chosen = p.argmax(-1)
    most = [np.bincount(each, minlength=10).max() / len(each) for each in chosen]
    return {"mean largest probability": p.max(-1).mean(), "share of the most frequent class": np.mean(most)}


found = {
    name: expects(bz.prior_draws(network(p), x[test[:200]], draws=many(300, 20))["prior_predictive"]["y_mean"].values[0])
    for name, p in classes.items()
}
pd.DataFrame(found).T

# %% [markdown]
# ## Temperature

# %%
temperatures = (0.03, 0.1, 0.3, 1.0, 3.0) if not FAST else (0.1, 1.0)
sampler = bz.MCLMC(
    chains=4,
    warmup=many(2000, 100),
    draws=many(250, 20),
    thinning=many(16, 2),
    init=bz.density.Adam(many(500, 50)),
    compile=not FAST,
    processes=1,
)


def tempered(prior, temperature, backend=sampler):
    model = bz.handlers.Power(network(prior), "*", power=1 / temperature)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = bz.fit(model, (x[rows], torch.tensor(label)[rows]), backend, seed=0, progress=False)
    return posterior.predict(x[test]), posterior.draws.attrs


fits = {name: {T: tempered(prior, T) for T in temperatures} for name, prior in classes.items()}


# %%
def judged(prediction, said, reference):
    y = torch.tensor(label)[test]
    each = prediction.log_likelihood(y).double()
    chains = (each.logsumexp(1) - np.log(each.shape[1])).mean(-1)
    density = prediction.log_prob(y)
    ahead = density - reference.log_prob(y)
    checked = bz.diagnostics.summarise(prediction.f[:, :, :100])
    return {
        "log p": float(density.mean()),
        "more than T = 1": float(ahead.mean()),
        "its standard error": float(ahead.std() / len(y) ** 0.5),
        "log p of one chain": float(chains.mean()),
        "standard error": float(chains.std() / len(chains) ** 0.5),
        "errors, %": 100 * float((prediction.mean.argmax(-1) != y).double().mean()),
        "confidence": float(prediction.mean.max(-1).values.mean()),
        "R-hat of f": checked["max_rhat"],
        "ESS, median": checked["median_ess_bulk"],
    }


tables = {name: pd.DataFrame({T: judged(*of[T], of[1.0][0]) for T in temperatures}).T for name, of in fits.items()}
pd.concat(tables)
