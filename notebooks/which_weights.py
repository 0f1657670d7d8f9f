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
# # Which weights does a network need, and what does the posterior say about it?
#
# LeNet-300-100 has 266,610 weights and tells digits apart with few of them. Four answers to which those are: the largest ones (magnitude), those
# that are not lost in their posterior spread (sparse variational dropout), those of units whose group is not (group horseshoe), and those that
# do not gather in the cluster at zero (soft weight sharing). The first three figures look at the weights while they are trained, the
# fourth at what is left of the picture, the fifth and the table at what it costs.
#
# With the 60,000 digits of MNIST in `BNN_ZOO_DATA` the runs took 55 minutes on two cores that did other work
# too, and were kept: the seconds at the end are those of reading them again. Without, or with `BNN_ZOO_FAST=1`,
# all of it runs in half a minute on 1,438 digits of 8 × 8 pixels and a 64-30-15-10 network: to see that it runs, not to learn from. `BNN_ZOO_COMPRESSION_RUNS=folder`
# keeps the runs (about 1 GB): the notebook may be stopped and taken up.

# %%
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from torch import nn

import bnn_zoo as bz
from bnn_zoo.plots import BLUE, GREEN, ORANGE, PURPLE, RED
from bnn_zoo.schedules import cosine

# %matplotlib inline
pd.set_option("display.width", 160, "display.max_colwidth", 60)
MNIST = Path(os.environ.get("BNN_ZOO_DATA", "nowhere")) / "MNIST"
FAST = os.environ.get("BNN_ZOO_FAST") == "1" or not MNIST.exists()
RUNS = os.environ.get("BNN_ZOO_COMPRESSION_RUNS")
BEGUN = time.perf_counter()

# %%
if FAST:
    task = bz.data.table("digits")
    x, y, x_test, y_test = task.x, task.y, task.x_test, task.y_test
    make_net = partial(bz.nets.MLP, 64, 10, hidden=(30, 15), activation=nn.ReLU)
else:
    train, test = (bz.data.mnist_like(MNIST, train=part) for part in (True, False))
    x, y, x_test, y_test = train.x.flatten(1), train.y, test.x.flatten(1), test.y
    make_net = bz.nets.LeNet300100
SIDE = round(x.shape[1] ** 0.5)
BATCH = 128
categorical = bz.likelihoods.Categorical()


def fit(name, model, backend, seed=1):
    folder = Path(RUNS) / f"{name}-{backend.steps}" if RUNS else None
    return bz.fit(model, (x, y), backend, seed=seed, progress=False, checkpoint=folder)


def error(net):
    """Percent of wrong test digits."""
    with torch.no_grad():
        return 100.0 * float((net(x_test).argmax(1) != y_test).float().mean())


def filled(posterior):
    """The network with the weights of a posterior's last draw."""
    net = make_net()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.as_tensor(posterior.draws.sites[name][0, -1]))
    return net


print(f"{len(x):,} training rows, {len(x_test):,} test rows, {SIDE} × {SIDE} pixels")

# %% [markdown]
# ## The network that all methods begin at
#
# The mode of the posterior under N(0, 1) for each weight, by Adam on batches of 128.

# %%
torch.manual_seed(0)
fused = partial(torch.optim.Adam, fused=True)
plain = bz.BNN(make_net(), bz.priors.Normal(1.0), categorical)
steps = 300 if FAST else 4_700
backend = bz.MAP(steps=steps, batch_size=BATCH, init=bz.density.FromNet(plain.net), optimiser=fused)
mode = fit("mode", plain, backend, seed=0)
trained = filled(mode)
WEIGHTS = [name for name, p in trained.named_parameters() if p.dim() == 2]
SIZE = sum(p.numel() for p in trained.parameters())
print(f"{SIZE:,} weights, {4 * SIZE:,} bytes in float32, test error {error(trained):.2f} % after {steps * BATCH / len(x):.0f} epochs")


# %% [markdown]
# ## Looking at a run on its way
#
# A fit returns where it ends. Its seed decides start, batches and noise, and the schedule of the learning rate is one of the step alone once its length is
# given, so that a fit with fewer steps is the beginning of a fit with more. Numbers of steps that double cost twice the last run in all.
# `trajectory` makes them, keeps what `look` sees, and compares the loss of each with that of the last, step by step.


# %%
def trajectory(name, model, make, at, look):
    """What ``look`` sees of the posterior after each number of steps in ``at``, and the last posterior."""
    seen, losses = [], []
    for steps in at:
        posterior = fit(name, model, make(steps))
        seen.append(look(posterior))
        loss = next(iter(posterior.draws.history.values())).ravel().tolist()
        every = -(-steps // len(loss))  # a long run of MAP keeps some 1,000 of its losses
        losses.append({i * every: value for i, value in enumerate(loss)})
    assert all(loss[i] == losses[-1][i] for loss in losses for i in loss.keys() & losses[-1].keys())
    return seen, posterior


def doubling(last, count):
    """So many numbers of steps that double, up to ``last``."""
    return [last // 2**i for i in reversed(range(count))]


# %% [markdown]
# ## 1. Soft weight sharing: weights gather
#
# The prior is one mixture of nine normals for all weights, and means, widths and shares are learnt with them (Nowlan & Hinton 1992; Ullrich, Meeds & Welling 2017). One component stays at
# zero and has 99.9 % of the mass. The likelihood counts to the power 1/0.03, so that the prior of 266,610 weights does not outweigh 60,000 rows: Ullrich et al. weigh the prior by their τ.
# The mode is sought, from the trained network and means spread over its weights.


# %%
LEARNT = 8  # components, besides the one at zero


class Start:
    """Weights of the trained network, and a mixture whose means are spread over where they are."""

    def __repr__(self):
        return f"Start({LEARNT})"

    def __call__(self, log_joint, chains, generator):
        values = {n: p.detach() for n, p in trained.named_parameters()}
        values["net_location"] = torch.linspace(-0.6, 0.6, LEARNT)
        values["net_scale"] = torch.full((LEARNT,), 0.02)
        values["net_zero_scale"] = torch.full((1,), 0.02)
        values["net_share"] = torch.full((LEARNT,), 1.0 / LEARNT)
        return log_joint.unconstrain(
            {site.name: values[site.name][None].expand(chains, *site.shape) for site in log_joint.sites}
        )


def state(posterior):
    """Weights of all layers in a row, and the mixture ``{mean, sd, share}``, the component at zero first."""
    found = {n: np.asarray(torch.as_tensor(v[0, -1])) for n, v in posterior.draws.sites.items()}
    mixture = {
        "mean": np.append(0.0, found["net_location"]),
        "sd": np.append(found["net_zero_scale"], found["net_scale"]),
        "share": np.append(0.999, 0.001 * found["net_share"]),
    }
    return np.concatenate([found[n].ravel() for n in WEIGHTS]), mixture


SHARING = 400 if FAST else 3_000
sharing = bz.handlers.Power(bz.BNN(make_net(), bz.zoo.ullrich_lenet300100(components=LEARNT + 1).prior, categorical), "y", power=1 / 0.03)


def sharing_backend(steps):
    rate = cosine(2e-3, steps=SHARING)
    return bz.MAP(steps=steps, batch_size=BATCH, step_size=rate, init=Start(), optimiser=fused)


sharing_at = doubling(SHARING, 4 if FAST else 6)
gathered, shared = trajectory("sharing", sharing, sharing_backend, sharing_at, state)
start = np.concatenate([p.detach().numpy().ravel() for p in trained.parameters() if p.dim() == 2])
first = {
    "mean": np.append(0.0, np.linspace(-0.6, 0.6, LEARNT)),
    "sd": np.full(LEARNT + 1, 0.02),
    "share": np.append(0.999, np.full(LEARNT, 0.001 / LEARNT)),
}
story = {0: (start, first)} | dict(zip(sharing_at, gathered, strict=True))

# %%
WIDE = max(0.65, 1.05 * max(abs(weights).max() for weights, _ in story.values()))
bins = np.linspace(-WIDE, WIDE, 201)
grid = np.linspace(-WIDE, WIDE, 2001)


def density(mixture):
    """Of the mixture on the grid."""
    z = (grid[:, None] - mixture["mean"]) / mixture["sd"]
    return (mixture["share"] * np.exp(-0.5 * z**2) / mixture["sd"]).sum(1) / np.sqrt(2.0 * np.pi)


shown = [0, *sharing_at[1::2]]
fig, axes = plt.subplots(1, len(shown), figsize=(13, 3.4), layout="constrained", sharex=True, sharey=True)
for ax, step in zip(axes, shown, strict=True):
    weights, mixture = story[step]
    ax.hist(weights, bins, color=BLUE, label="weights")
    ax.plot(grid, density(mixture) * len(weights) * (bins[1] - bins[0]), color=RED, lw=1.2, label="mixture, as many weights")
    ax.set(title=f"step {step:,}", xlabel="weight", yscale="log", ylim=(0.5, 3 * len(start)))
axes[0].set_ylabel(f"weights in a bin of {bins[1] - bins[0]:.2g}")
axes[-1].legend(frameon=False, fontsize="small")
plt.show()

# %%
fig = plt.figure(figsize=(13, 5.4), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1.1, 1))
ax = left.subplots()
at = np.array(list(story))
means, sds = (np.array([mixture[key] for _, mixture in story.values()]) for key in ("mean", "sd"))
for i in range(LEARNT + 1):
    color = RED if i == 0 else BLUE
    name = "held at zero" if i == 0 else "learnt" if i == 1 else None
    ax.fill_between(at, means[:, i] - 2 * sds[:, i], means[:, i] + 2 * sds[:, i], color=color, alpha=0.15, lw=0)
    ax.plot(at, means[:, i], color=color, lw=1.5, marker=".", label=name)
ax.set_xscale("symlog", linthresh=sharing_at[0])
ax.set(xlabel="step", ylabel="mean of a component ± 2 sd", title=f"{LEARNT + 1} components")
ax.set_xticks(at, [f"{step:,}" for step in at])
ax.xaxis.minorticks_off()
ax.legend(frameon=False)

mosaic = right.subplot_mosaic("a.;bc", width_ratios=(4, 1), height_ratios=(1, 4))
before, after = start, gathered[-1][0]
mosaic["b"].hist2d(before, after, bins=[bins, bins], norm=LogNorm(), cmap="viridis")
mosaic["b"].plot([-WIDE, WIDE], [-WIDE, WIDE], "--", color="0.5", lw=1, label="unchanged")
mosaic["b"].set(xlabel="weight before", ylabel="weight after", xlim=(-WIDE, WIDE), ylim=(-WIDE, WIDE))
mosaic["b"].legend(frameon=False, loc="upper left")
mosaic["a"].hist(before, bins, color=BLUE)
mosaic["a"].set(yscale="log", xlim=(-WIDE, WIDE), ylabel="weights", title=f"before and after {SHARING:,} steps")
mosaic["a"].tick_params(labelbottom=False)
mosaic["c"].hist(after, bins, color=BLUE, orientation="horizontal")
mosaic["c"].set(xscale="log", ylim=(-WIDE, WIDE), xlabel="weights")
mosaic["c"].tick_params(labelleft=False)
plt.show()

# %% [markdown]
# By step 750 the outer components have moved in from ±0.6, and by step 3,000 the component at zero is a needle with most of the weights, while the others stand in humps of their own around ±0.1, ±0.18 and
# ±0.3. The joint histogram shows that few weights cross zero: those near it are drawn in, those outside move on in the direction that they had. The components take up more sd as they take in more
# weights. The humps at ±0.18 are narrow; the outermost two are wide, and rounding a weight there to one mean costs most.
#
# ## 2. Group horseshoe: units die
#
# Weights that leave one unit, or pixel, share a scale z, and scales have the prior C⁺(0, s), s ~ C⁺(0, 10⁻⁵) of the layer (Louizos, Ullrich & Welling 2017). The family is
# `guides.ScaledNormal`, noise enters at the layers' outputs. Signal to noise of a unit is ‖mean‖/‖sd‖ over the weights that leave it. A unit whose mean is 0 still shows about 1/√draws, as
# the mean over that many draws is not: the dotted line.

# %%
DRAWS = 100
THRESHOLD = 0.15
GROUPS = 400 if FAST else 6_400
horseshoe = bz.zoo.louizos_lenet300100(bz.priors.HalfCauchy(bz.priors.HalfCauchy(1e-5))).prior


def variational(steps, last, rate, guide):
    return bz.MeanField(
        steps=steps,
        draws=DRAWS,
        batch_size=BATCH,
        learning_rate=cosine(rate, steps=last),
        init=bz.density.FromNet(trained),
        guide=guide,
        handler=bz.handlers.LocalReparameterization,
        compile=False,
    )


def unit_ratios(posterior):
    """‖mean‖/‖sd‖ of the weights that leave each input of each layer."""
    found = bz.compression.moments(posterior)
    return [(found.mean[n].norm(dim=0) / found.sd[n].norm(dim=0)).numpy() for n in WEIGHTS]


groups_at = doubling(GROUPS, 4 if FAST else 7)
scaled = partial(bz.guides.ScaledNormal, init_scale=0.1)
group_model = bz.BNN(make_net(), horseshoe, categorical)
ratios, groups = trajectory(
    "groups", group_model, lambda steps: variational(steps, GROUPS, 1e-2, scaled), groups_at, unit_ratios
)

# %%
black = (x == x[0]).all(0).numpy()  # the same in all training images
fig, axes = plt.subplots(2, 3, figsize=(13, 6), layout="constrained", sharex=True, sharey="row", height_ratios=(2.2, 1))
for column, (axis, count_axis, what) in enumerate(zip(*axes, ("pixels", "first hidden units", "second hidden units"), strict=True)):
    lines = np.array([r[column] for r in ratios])
    stays = lines[-1] >= THRESHOLD
    still = black if column == 0 else np.zeros_like(stays)
    kinds = (("stay", stays, BLUE), ("go", ~stays & ~still, ORANGE), ("go, the same in all images", ~stays & still, "0.7"))
    for name, chosen, color in kinds:
        if chosen.any():
            axis.plot(groups_at, lines[:, chosen], color=color, lw=0.6, alpha=0.5)
            axis.plot([], [], color=color, label=f"{chosen.sum()} {name}")
    axis.axhline(THRESHOLD, color="black", lw=1, ls="--", label=f"threshold {THRESHOLD}")
    axis.axhline(DRAWS**-0.5, color="black", lw=1, ls=":", label=f"1/√{DRAWS} draws")
    axis.set(xscale="log", yscale="log", title=f"{len(stays)} {what}")
    axis.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small", loc="lower left")
    count_axis.plot(groups_at, 100.0 * (lines >= THRESHOLD).mean(1), color=BLUE, marker="o")
    count_axis.set(ylim=(0, 105), xlabel="step")
axes[0, 0].set_ylabel("signal to noise, ‖mean‖/‖sd‖")
axes[1, 0].set_ylabel("above threshold [%]")
plt.show()

# %% [markdown]
# All 67 pixels that are the same in all images fall to the dotted line, and so do 335 others, most of them at the edge. Of the first hidden units 218 go, the last of them after step 3,000; of the second
# ten. The threshold is just above what nothing looks like. A higher one would be wrong here: a pixel has a ratio of at most 0.6, as each alone says little, and with 0.5 four pixels were left and
# 91 % of the answers were wrong. Nothing has settled after 6,400 steps: units were still going.
#
# ## 3. What is left of the picture
#
# Sparse variational dropout has one scale for each weight: mean-field normals under the improper prior 1/|w| (Molchanov, Ashukha & Vetrov 2017). Then all four are compressed. `bz.compress` prunes,
# rounds, and cuts the units that no longer do anything; rules are those of docs/compression.md. Magnitude takes from each layer of the trained network as many weights as sparse
# variational dropout left in all, with six bits each, and is not trained again.

# %%
DROPOUT = 400 if FAST else 6_000
narrow = partial(bz.guides.MeanFieldNormal, init_scale=0.01)
dropout_model = bz.BNN(make_net(), bz.zoo.molchanov_lenet300100().prior, categorical)
dropout = fit("dropout", dropout_model, variational(DROPOUT, DROPOUT, 1e-3, narrow))

# %%
C = bz.compression
names = ("sparse variational dropout", "group horseshoe", "soft weight sharing", "magnitude")
compressed = {names[0]: bz.compress(dropout, prune=C.SignalToNoise(0.22), test=(x_test, y_test))}
share = compressed[names[0]].report.nonzero
compressed |= {
    names[1]: bz.compress(groups, prune=C.SignalToNoise(0.22, units=THRESHOLD), test=(x_test, y_test)),
    names[2]: bz.compress(shared, prune=C.everything, code=C.Clusters(), test=(x_test, y_test)),
    names[3]: bz.compress(mode, prune=C.Magnitude(share, each=True), code=C.Levels(6), test=(x_test, y_test)),
}


def readers(small):
    """How many first hidden units look at each pixel ``[SIDE, SIDE]``."""
    layers = list(small.net)
    (linear, *_) = [layer for layer in layers if isinstance(layer, nn.Linear)]
    picked = [layer.indices for layer in layers[: layers.index(linear)] if hasattr(layer, "indices")]
    counts = torch.zeros(SIDE * SIDE, dtype=torch.long)
    counts[picked[0] if picked else slice(None)] = (linear.weight != 0).sum(0)
    return counts.reshape(SIDE, SIDE).numpy()


ink = (x != x.min(0).values).float().mean(0).reshape(SIDE, SIDE).numpy()
fig, axes = plt.subplots(1, 5, figsize=(15, 3.6), layout="constrained")
image = axes[0].imshow(np.ma.masked_equal(100.0 * ink, 0.0), cmap="viridis")
fig.colorbar(image, ax=axes[0], label="images with ink there [%]", location="bottom")
axes[0].set_title(f"the digits\n{(ink > 0).sum()} of {SIDE**2} pixels", fontsize="medium")
for ax, (name, small) in zip(axes[1:], compressed.items(), strict=True):
    counts = readers(small)
    image = ax.imshow(np.ma.masked_equal(counts, 0), cmap="viridis")
    fig.colorbar(image, ax=ax, label="hidden units that read it", location="bottom", ticks=MaxNLocator(5, integer=True))
    ax.set_title(f"{name}\n{(counts > 0).sum()} of {SIDE**2} pixels", fontsize="medium")
for ax in axes:
    ax.set(facecolor="0.85", xticks=(0, SIDE - 1), yticks=(0, SIDE - 1))
plt.show()

# %% [markdown]
# Grey: nobody reads it (in the first picture: no training image has ink there).
#
# All four leave the border alone, which no training digit touches. Sparse variational dropout and the horseshoe look at the middle of the picture, in 440 and 376 pixels; soft weight sharing and magnitude
# keep some hundred more. Under the horseshoe the pixels that stay are read by up to 60 units: it takes whole pixels, where the others take single weights.
#
# ## 4. What it costs: size, or signal to noise?
#
# The same network is pruned to fewer and fewer weights by three orders: the size of the trained weights, the size of the posterior means of sparse variational dropout,
# and their signal to noise. And at random, as a floor. All layers together, biases stay, nothing is rounded or trained again.

# %%
found = C.moments(dropout)
trained_weights = {n: p.detach() for n, p in trained.named_parameters()}
noise = torch.Generator().manual_seed(0)
orders = {
    "|w| of the trained network": (trained_weights, {n: trained_weights[n].abs() for n in WEIGHTS}, BLUE, "o"),
    "|mean|, sparse variational dropout": (found.mean, {n: found.mean[n].abs() for n in WEIGHTS}, ORANGE, "s"),
    "|mean|/sd, sparse variational dropout": (found.mean, {n: found.signal_to_noise()[n] for n in WEIGHTS}, GREEN, "^"),
    "at random, trained network": (
        trained_weights,
        {n: torch.rand(trained_weights[n].shape, generator=noise) for n in WEIGHTS},
        PURPLE,
        "D",
    ),
}
shares = np.geomspace(0.005, 1.0, 15)


def pruned_error(values, order, share):
    """Test error where the ``share`` of the weights that are first in order stays."""
    flat = torch.cat([order[n].flatten() for n in WEIGHTS])
    least = flat.sort(descending=True).values[max(1, round(share * len(flat))) - 1]
    net = make_net()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(values[name] * (order[name] >= least) if name in order else values[name])
    return error(net)


fig, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
for name, (values, order, color, marker) in orders.items():
    errors = [pruned_error(values, order, share) for share in shares]
    ax.plot(100 * shares, errors, color=color, marker=marker, ms=5, label=name)
ax.axvline(100 * share, color="0.4", lw=1, ls="--", label=f"|mean|/sd ≥ 0.22: {100 * share:.1f} %")
ax.set(xscale="log", yscale="log", xlabel="weights that stay [%]", ylabel="test error [%]")
ax.xaxis.set_major_formatter(ScalarFormatter())
ax.yaxis.set_major_formatter(ScalarFormatter())
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
plt.show()

# %% [markdown]
# Two to three per cent of the weights of sparse variational dropout are enough, and it hardly matters down to there whether one keeps the large means or the clear ones. Below that signal to noise is the better
# order: with one per cent left it has not quite 4 % errors and the size of the means 8 %. The trained network begins to err when three quarters of its weights are gone by size: it was never asked to do
# without them. What makes a network small is the training under a prior that lets weights go, and the order decides the rest.
#
# ## 5. The table
#
# Errors are those of `bz.compress`: before, of the mean of the predictive law over all draws (of the one network, for soft weight sharing and magnitude); after, of the one small network.
# Bytes are those of the file, and the network that is read from it is the one that is scored. Published figures, where we know one, are those of LeNet-300-100
# after longer training and other choices of thresholds and bits: they are not what these runs should give, and stand here to say where the methods can come to.

# %%
published = {
    names[0]: ("1.8", "512-114-72", "21", "84–113"),
    names[1]: ("1.8", "311-86-14", "9", "23–59"),
    names[2]: ("1.94", "", "", "64"),
}
rows = {}
with tempfile.TemporaryDirectory() as folder:
    for name, small in compressed.items():
        path = Path(folder) / "small.bnz"
        size, r = small.save(path), small.report
        assert size == r.bytes and torch.equal(C.load(path).net(x_test), small.net(x_test))
        there = published.get(name, ("",) * 4)
        rows[name] = {
            "error before [%]": f"{r.before.error:.2f}",
            "error after [%]": f"{r.after.error:.2f}",
            "weights left [%]": f"{100 * r.nonzero:.1f}",
            "architecture": r.architecture,
            "bytes on disk": f"{size:,}",
            "× pruned": f"{r.rate_pruning:.0f}",
            "× without decoding": f"{r.rate_fast:.0f}",
            "× on disk": f"{r.rate_max:.0f}",
            "published: error [%]": there[0],
            "published: architecture": there[1],
            "published: × pruned": there[2],
            "published: × with bits": there[3],
        }
pd.DataFrame(rows)

# %%
print(f"{time.perf_counter() - BEGUN:.0f} s in all")

# %% [markdown]
# ## What to take home
#
# In files of the same network with like errors, sparse variational dropout is 138 times smaller at 2.0 %, the group horseshoe 125 times at 2.7 % with a third of the hidden units, and soft weight sharing
# 84 times at 2.4 %. If the file must be small, take the first; if the network must be fast without decoding, the horseshoe (49 times against 23). Magnitude without retraining is no rival at this size.
# One seed, short runs, and a threshold for the horseshoe that was chosen after looking at the test error: differences of a few tenths of a per cent mean nothing.
# [The page on compression](compression.md) has longer runs.
#
# **With your own network**: put it in place of `bz.nets.LeNet300100`, your rows in place of `x, y, x_test, y_test`, and look at the third figure before you choose a threshold.
