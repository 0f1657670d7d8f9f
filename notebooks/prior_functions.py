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
# # What does a prior believe?
#
# A prior over the weights of a network is a prior over functions, and it is the functions that one has opinions about.
# This notebook draws functions from priors and compares them with what mathematics says of very wide networks: what
# width, depth, heavy tails and correlated filters do, and what classes a prior expects.
#
# The conclusion stands at the end.

# %%
import os

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
# ## Width: fewer surprises
#
# Networks of one input and one hidden layer of ReLU units, weights N(0, 2/inputs) and biases N(0, 1). `prior_draws` asks
# for no data. `he` is the rule √(2/inputs), so that the variance of f does not depend on the width.

# %%
fortuin = priors.PerSite({"*.bias": priors.Normal(1.0), "*": priors.Normal(he)})
grid = torch.linspace(-3, 3, 61)[:, None]
widths = (3, 30, 300)
by_width = {
    f"{h} units": drawn(bz.nets.MLP(1, 1, hidden=(h,), activation=nn.ReLU), fortuin, grid, many(2000, 200))[0] for h in widths
}
bz.plots.functions(grid, by_width)[0, 0].figure


# %% [markdown]
# The more units, the closer f is to a Gaussian process (Neal 1996), whose covariance is known for ReLU (Cho and Saul
# 2009). At any width the variance of f is that of the limit; what changes are its tails. Their excess kurtosis is 0 for
# a normal law, and for these networks it is known too: 15/units · k²/(1 + k)², where k = 1 + 2x² is the variance of what
# goes into a unit.


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
# Variances agree with the limit within what 2,000 draws can tell. With 3 units the tails are heavy: 13 of 1,000 networks
# lie more than three standard deviations out, and a normal law has 2.7. From 30 units on,
# 2,000 draws do not tell the tails from normal ones with certainty.
#
# ## Depth: a prior can forget its input, or know nothing of neighbours
#
# How alike are the values of f at two inputs? Inputs on a half circle, against the first of them. Lines are the limit of
# infinite width (Cho and Saul 2009 for ReLU, Williams 1997 for erf); dots are 400 networks with 100 units a layer.

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
degrees = np.linspace(0, 180, 25)
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
for ax, (name, (activation, prior, after, numbers)) in zip(axes, families.items()):
    for depth, colour in zip(depths, bz.plots.PALETTE):
        net = bz.nets.MLP(2, 1, hidden=(many(100, 20),) * depth, activation=activation)
        f = drawn(net, prior, circle, many(400, 20))[0]
        ax.plot(degrees, limit(after, numbers, depth), color=colour, lw=1.5)
        ax.plot(degrees, correlation(f), "o", color=colour, ms=4, label=f"{depth} hidden layers")
    ax.set(title=name, xlabel="angle between the two inputs [degrees]", xticks=range(0, 181, 45))
axes[0].set_ylabel("correlation of f at the two inputs")
axes[0].legend(frameon=False, fontsize="small")
figure


# %% [markdown]
# - ReLU, with the scale that is usual for it: 16 layers make f nearly a constant, its values at opposite inputs have a
#   correlation of almost 1.
# - erf (much like tanh) with small weights: depth makes f vary less too, more slowly.
# - erf with weights four times as large: with 16 layers, inputs 7.5 degrees apart have nothing to do with each other
#   any more. Such a prior is noise, and no test input is near enough to a training input to learn from it.
#
# Between the two there is a scale at which depth changes f only slowly (Schoenholz et al. 2017). Dots follow the lines; dots of
# one colour lie off together, because all of them are the same 400 networks.
#
# ## Heavy tails: single units that matter
#
# Weights out of the hidden layer that are normal, Student-t with 3 degrees of freedom, or Cauchy. Scales shrink with the
# width so that the size of f does not: 1/√units where the variance is finite, and 1/units for Cauchy.

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
    law: {f"{h} units": drawn(bz.nets.MLP(1, 1, hidden=(h,)), prior, fine, many(1000, 50)) for h in sizes}
    for law, prior in laws.items()
}


# %% [markdown]
# Σ v⁴ / (Σ v²)² says how much of f single units make: 1/units if all weigh the same, 1 if there is but one. Beside it:
# what share of all its ups and downs a function makes in the steepest hundredth of the interval, and how far out f goes
# in one network of a hundred.


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
        ax.plot(fine[:, 0].numpy(), line, color=colour, lw=1)
    ax.set(title=f"{law}, {size}", xlabel="x")
for ax in axes[::2]:
    ax.set_ylabel("f(x) [its own sd over x]")
figure

# %% [markdown]
# With normal weights 1,000 units share the work: 0.003. With Cauchy weights a single unit makes a large part of f however
# many units there are, 0.56 with 10 and 0.49 with 1,000: the limit is no Gaussian process, and units go on being
# features (Neal 1996). In the pictures, functions of 1,000 Cauchy units are plateaus with a few steps. The price is in
# the last column: one network in a hundred is 65 times as large as the median one. Student-t with 3 degrees of freedom
# lies between: its variance is finite, so its limit is Gaussian, but with 1,000 units
# the sum is still ten times that of the normal prior (0.034).
#
# ## Correlated filters: smooth images
#
# `SpatialNormal` gives the weights of one filter a correlation that falls off with the distance between their pixels,
# exp(−distance/length), as Fortuin et al. 2022 found in trained networks. Filters of the first layer, with the same random
# numbers for the three priors, and a digit after each of them. Colours run from negative to positive, each panel on its own scale.

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
figure = Figure(figsize=(9, 6.6), layout="constrained")
axes = figure.subplots(6, shown, gridspec_kw={"height_ratios": [0.6, 1] * 3})
for i, (name, w) in enumerate(first_layer.items()):
    seen = nn.functional.conv2d(image, w[:shown], padding=1)[0]
    for j in range(shown):
        for ax, values in ((axes[2 * i, j], w[j, 0]), (axes[2 * i + 1, j], seen[j])):
            most = float(abs(values).max())
            ax.imshow(values, cmap="PuOr", vmin=-most, vmax=most)
            ax.set(xticks=[], yticks=[])
    axes[2 * i, 0].set_ylabel("filters", rotation=0, ha="right")
    axes[2 * i + 1, 0].set_ylabel(f"{name.replace(', ', chr(10))}:\na digit through\nthem", rotation=0, ha="right")
figure

# %% [markdown]
# By eye the filters get smoother; the digit hardly shows it. So ask with gratings, cosine waves of one period across the
# image: how large is the filtered wave on average? Lines are the exact values, dots the filters drawn.


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
# Independent weights answer to all periods alike. With length 3 they answer seven times as much to waves of 20
# pixels as to the shortest ones, and less than independent ones to those of 2.5 pixels: the prior expects that what tells
# classes apart is smooth.
#
# ## What classes a prior expects
#
# The digits of scikit-learn, 8 × 8 pixels, and a network 64–20–20–10. Before any data: how sure are networks drawn
# from the prior, and how evenly do they use the ten classes?

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
    name: expects(bz.prior_draws(network(p), x[test[:200]], draws=many(200, 20))["prior_predictive"]["y_mean"].values[0])
    for name, p in classes.items()
}
pd.DataFrame(found).T

# %% [markdown]
# None of the three expects what we know. An even use of classes would put little more than a tenth of the images in the most
# frequent one;
# each of these puts 60 to 70 % of them there. And N(0, 1) is 98.5 % sure of it: its weights are three to six
# times as large as the first one's.
#
# ## Conclusion
#
# - Few units make surprises: with 3 units 13 of 1,000 networks lie beyond three standard deviations, with 300 units 3.
# - Depth works through the scale of the weights. The same 16 layers made f a constant (ReLU) or noise (erf, weights
#   4/√inputs). Draw from the prior before you sample a deep network.
# - With Cauchy weights a few units go on to matter at any width, at the price of one network in a hundred that is 65 times the median.
# - Correlated filters are a prior for smooth images: they answer to long waves and little to fine ones.
# - Scales that look harmless are opinions: under N(0, 1) a classifier is 98.5 % sure of its labels before it has seen one.
#
# For your own network, change `net`, `prior` and the inputs in a call of `drawn`, and look at `bz.plots.functions`.
