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
# # From physics to posteriors: what carries over, and what does not?
#
# Bayesian deep learning has borrowed its samplers from statistical physics, and SGD is often called a thermal process: "Langevin
# dynamics whose temperature is the learning rate over the batch size". This notebook takes the analogy apart, step by step, on problems so small that
# the right answer is known by quadrature, that is by summing over a fine grid.
#
# 1. Boltzmann's law is the softmax, and the posterior is Boltzmann's law at temperature 1.
# 2. Temperature decides between energy and entropy.
# 3. Metropolis, HMC and Langevin sample one and the same law, and cross barriers at very different rates.
# 4. Minibatch noise kicks SGD out of a sharp minimum, as heat does.
# 5. The noise of SGD is no heat: it differs from place to place and from direction to direction, and so does what SGD ends in.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import scipy.linalg
import torch
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter
from pyro.distributions import constraints
from scipy.stats import norm
from torch.func import functional_call, grad, vmap

import bnn_zoo as bz
from bnn_zoo.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY

# %matplotlib inline
pd.set_option("display.width", 140, "display.float_format", "{:.4g}".format)
warnings.filterwarnings("ignore", category=UserWarning)  # chains that disagree: here they start in one well on purpose
FAST = os.environ.get("BNN_ZOO_FAST") == "1"  # smaller settings, for automatic checks

# %% [markdown]
# ## 1. Boltzmann's law is the softmax
#
# A system in contact with a bath of heat at temperature T is in state k, of energy $E_k$, with probability
#
# $$p_k = \frac{e^{-E_k/T}}{Z},\qquad Z=\sum_j e^{-E_j/T}.$$
#
# That is `softmax(-E / T)`: the logits of a classifier are negative energies, and "temperature scaling" of a classifier is a change of T.

# %%
energies = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
rows = {}
for T in (0.1, 0.5, 1.0, 2.0, 10.0):
    weights = torch.exp(-energies / T)
    boltzmann = weights / weights.sum()
    assert torch.allclose(boltzmann, torch.softmax(-energies / T, 0))
    rows[f"T = {T:g}"] = boltzmann.tolist()
pd.DataFrame(rows, index=["energy 0", "energy 1", "energy 2.5"]).T

# %% [markdown]
# Cold: all mass on the state of lowest energy. Hot: all states alike. The same for weights w of a network and data y:
#
# | physics | statistics |
# |---|---|
# | energy U(w) | −log p(y, w) = −log likelihood − log prior |
# | Boltzmann's law at T = 1 | the posterior, exp(−U(w)) / Z |
# | partition function Z | the evidence p(y) |
# | ground state, T → 0 | the MAP estimate |
# | free energy −T log Z | at T = 1: −log evidence |
#
# ## 2. Energy against entropy
#
# A double well: the left one is deep and narrow, the right one less deep and wide. It is a Pyro model of one unknown without data;
# `pyro.factor` adds −U to the log joint.

# %%
DEEP, WIDE = -1.0, 1.5  # where the minima are


def U(x):
    """Energy: the soft minimum of two parabolas."""
    deep, wide = (x - DEEP) ** 2 / (2 * 0.25**2), 1.0 + (x - WIDE) ** 2 / (2 * 0.8**2)
    return -torch.logaddexp(-deep, -wide)


def double_well():
    x = pyro.sample("x", dist.ImproperUniform(constraints.real, (), ()))
    pyro.factor("boltzmann", -U(x))


# %% [markdown]
# Everything about it by quadrature. The share of a well is its part of Z, `exp(−F/T)` with the free energy `F = energy − T · entropy`: a well can win
# by being deep or by being wide.

# %%
grid = torch.linspace(-3.5, 7.0, 900, dtype=torch.float64)
h = float(grid[1] - grid[0])
x, energy = grid.numpy(), U(grid).numpy()
force = vmap(grad(U))(grid).numpy()
top = x[(x > DEEP) & (x < WIDE)][np.argmax(energy[(x > DEEP) & (x < WIDE)])]  # of the barrier


def density(T):
    p = np.exp(-energy / T)
    return p / (p.sum() * h)


def parts(T):
    p, found = density(T), {}
    for name, inside in (("deep", x < top), ("wide", x >= top)):
        share = p[inside].sum() * h
        inner = p[inside] / share
        found |= {
            f"{name}: share": share,
            f"{name}: mean energy": (inner * energy[inside]).sum() * h,
            f"{name}: entropy": -(inner * np.log(inner)).sum() * h,
        }
    return found


print(f"barrier at {top:.2f}, {np.interp(top, x, energy) - U(torch.tensor(DEEP)):.2f} above the deep well and ", end="")
print(f"{np.interp(top, x, energy) - U(torch.tensor(WIDE)):.2f} above the wide one")
pd.DataFrame({f"T = {T:g}": parts(T) for T in (0.2, 0.5, 1.0, 2.0)}).T

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
left.plot(x, energy, color="black", label="energy U")
for T, colour in ((0.3, BLUE), (1.0, GREEN), (3.0, ORANGE)):
    left.plot(x, 3 * density(T), color=colour, label=f"3 × density at T = {T:g}")
left.set(xlim=(-2.2, 4.5), ylim=(-0.1, 6), xlabel="x", ylabel="energy")
left.legend(frameon=False, fontsize="small")
temperatures = np.geomspace(0.15, 5, 60)
right.plot(temperatures, [parts(T)["wide: share"] for T in temperatures], color="black")
right.axhline(0.5, color="0.7", lw=1)
right.set(xscale="log", xlabel="temperature T", ylabel="share of the wide well", ylim=(0, 1))
right.xaxis.set_major_locator(FixedLocator([0.2, 0.5, 1, 2, 5]))
right.xaxis.set_major_formatter(ScalarFormatter())
right.xaxis.set_minor_formatter(NullFormatter())
plt.show()

# %% [markdown]
# At T = 0.2 the deep well has 98 % of the mass: energy decides. At T = 2 the wide one has 64 %: entropy decides. At T = 1 they are nearly even, 47 to 53, although
# the wide well lies one unit of energy higher.
#
# So the place of the most mass need not be the place of the lowest energy; of a posterior that means that it need not gather at the MAP estimate.
#
# ## 3. Three dynamics, one law
#
# All of them are backends of this library. Their tuning is switched off (`warmup=0`), so that the settings are the ones written here, and chains
# start from the exact law.
#
# - **Metropolis** (`RandomWalk`): propose x + N(0, 1); accept with probability min(1, exp(−ΔU/T)).
# - **HMC**: give x a random momentum and follow Newton's equations for six leapfrog steps of 0.2, then accept or reject as Metropolis does.
# - **Langevin** (`SGLD` on all data): x ← x − ε/2 U′(x) + √(εT) ξ. Nothing is rejected, so the law is Boltzmann's only as ε → 0.
#
# Langevin has its temperature as a setting. For the others `handlers.Power` raises the density to the power 1/T.

# %%
CHAINS, DRAWS = (50, 300) if FAST else (100, 2500)
EPSILON, JUMP, STEP, LEAPFROGS = 0.02, 1.0, 0.2, 6


def from_law(T):
    """Starting points: draws from the exact density, by inverting its distribution function."""

    def start(log_joint, chains, generator):
        uniform = torch.rand(chains, generator=generator, dtype=torch.float64).numpy()
        drawn = np.interp(uniform, np.cumsum(density(T)) * h, x)
        return torch.tensor(drawn, dtype=log_joint.dtype)[:, None]

    return start


def run(name, T):
    """Draws ``[chain, draw]`` at temperature T, and evaluations of U or its gradient for each."""
    tempered = bz.handlers.Power(double_well, "*", power=1 / T)
    common = {"chains": CHAINS, "warmup": 0, "init": from_law(T)}
    many = common | {"steps": DRAWS, "thinning": 1}
    model, backend, cost = {
        "Metropolis": (tempered, bz.RandomWalk(step_size=JUMP / 2.38, draws=DRAWS, thinning=1, compile=False, **common), 1),
        "HMC": (
            tempered,
            bz.HMC(
                step_size=STEP, trajectory_length=STEP * (LEAPFROGS - 0.5), jitter=0.0, draws=DRAWS, compile=False, **common
            ),
            LEAPFROGS,
        ),
        "Langevin": (double_well, bz.SGLD(step_size=EPSILON, temperature=T, **many), 1),
    }[name]
    posterior = bz.fit(model, (), backend, seed=1, progress=False)
    return np.asarray(posterior.draws.sites["x"][:], dtype=float), cost


# %% [markdown]
# A crossing is counted when a chain reaches the bottom of the wide well after it was last at the bottom of the deep one; jitter about the top of
# the barrier does not count. The exact rate of each method comes from its matrix of transition probabilities on the grid: `q` is the probability to
# reach the wide well before the deep one, and the rate is that of leaving the deep well and getting there.


# %%
def count(draws):
    """Crossings of each chain ``[chain]``."""
    side = np.where(draws <= DEEP, -1, np.where(draws >= WIDE, 1, 0))
    last = np.maximum.accumulate(np.where(side != 0, np.arange(side.shape[1]), 0), axis=1)
    side = np.take_along_axis(side, last, axis=1)
    return ((side[:, :-1] == -1) & (side[:, 1:] == 1)).sum(1)


def exact_rate(P):
    """Crossings a step in equilibrium, of a chain with the transition matrix ``P``."""
    n = len(P)
    stationary = np.linalg.solve(np.vstack([(P.T - np.eye(n))[:-1], np.ones(n)]), np.eye(n)[-1])
    deep, wide = x <= DEEP, x >= WIDE
    between, q = ~(deep | wide), wide.astype(float)
    inside = P[np.ix_(between, between)]
    q[between] = np.linalg.solve(np.eye(between.sum()) - inside, P[np.ix_(between, wide)].sum(1))
    return float(stationary[deep] @ P[deep] @ q)


def metropolis(T):
    P = h * norm.pdf(x[None] - x[:, None], scale=JUMP) * np.minimum(1, np.exp((energy[:, None] - energy[None]) / T))
    np.fill_diagonal(P, 0)
    return P + np.diag(1 - P.sum(1))


def langevin(T, epsilon=EPSILON):
    P = norm.pdf(x[None], loc=(x - 0.5 * epsilon * force)[:, None], scale=(epsilon * T) ** 0.5)
    return P / P.sum(1, keepdims=True)


def hmc(T, momenta=500):
    p = np.broadcast_to(norm.ppf((np.arange(momenta) + 0.5) / momenta), (len(x), momenta))
    q, begin = np.broadcast_to(x[:, None], p.shape), energy[:, None] / T + p**2 / 2
    for _ in range(LEAPFROGS):
        p = p - 0.5 * STEP * np.interp(q, x, force) / T
        q = q + STEP * p
        p = p - 0.5 * STEP * np.interp(q, x, force) / T
    accept = np.minimum(1, np.exp(begin - np.interp(q, x, energy) / T - p**2 / 2)) / momenta
    P, to = np.zeros((len(x), len(x))), np.clip(np.rint((q - x[0]) / h).astype(int), 0, len(x) - 1)
    np.add.at(P, (np.arange(len(x))[:, None], to), accept)
    return P + np.diag(1 - P.sum(1))


exact = {"Metropolis": metropolis, "HMC": hmc, "Langevin": langevin}

# %%
TEMPERATURES = (0.6, 1.0) if FAST else (0.6, 0.8, 1.0, 1.5)
EDGES = np.linspace(-3.0, 5.0, 81)
draws, rates = {}, []
for T in TEMPERATURES:
    mass = np.histogram(x, EDGES, weights=density(T) * h)[0]
    for name in exact:
        drawn, cost = run(name, T)
        if T == 1.0:
            draws[name] = drawn
        crossings = count(drawn) / drawn.shape[1]
        rates.append(
            {
                "T": T,
                "method": name,
                "wide well: share": (drawn > top).mean(),
                "exact share": parts(T)["wide: share"],
                "distance": 0.5 * np.abs(np.histogram(drawn, EDGES)[0] / drawn.size - mass).sum(),
                "crossings in 1,000 steps": 1000 * crossings.mean(),
                "standard error": 1000 * crossings.std(ddof=1) / len(crossings) ** 0.5,
                "exact rate": 1000 * exact_rate(exact[name](T)),
                "in 1,000 evaluations": 1000 * crossings.mean() / cost,
            }
        )
rates = pd.DataFrame(rates)
rates

# %% [markdown]
# "distance" is the total variation distance from the exact law over 80 bins. About 0.029 of it is made by the grid, whose points fall unevenly into the bins:
# Metropolis and HMC are at that floor, Langevin is above it (0.036 to 0.040), because its steps have a finite size.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained", sharey=True)
for ax, (name, drawn), colour in zip(axes, draws.items(), (SKY, ORANGE, PURPLE)):
    ax.hist(drawn.ravel(), EDGES, density=True, color=colour, label=f"{drawn.size:,} draws")
    ax.plot(x, density(1.0), color="black", lw=1.2, label="exact")
    ax.set(title=name, xlabel="x", xlim=(-2.5, 4.5))
    ax.legend(frameon=False, fontsize="small")
axes[0].set_ylabel("density at T = 1")
plt.show()

# %% [markdown]
# How the rates fall with the temperature: Arrhenius' law says that the logarithm of the rate is a straight line in 1/T. For Langevin in the limit
# of small steps theory gives the rate by two integrals (Kramers 1940): in time εn, with the diffusion constant D = T/2, a crossing takes on average $\frac{1}{D}\int e^{-U/T}\,dx\int_a^b e^{U/T}\,dx$ from bottom a to bottom b and back.


# %%
def kramers(T):
    """Crossings a Langevin step as ε → 0."""
    between = (x >= DEEP) & (x <= WIDE)
    return 0.5 * T * EPSILON / (np.exp(-energy / T).sum() * h * np.exp(energy[between] / T).sum() * h)


fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
fine = np.linspace(min(TEMPERATURES), max(TEMPERATURES), 10)
for (name, matrix), colour, marker in zip(exact.items(), (SKY, ORANGE, PURPLE), "osD"):
    mine = rates[rates["method"] == name]
    ax.plot(1 / fine, [1000 * exact_rate(matrix(T)) for T in fine], color=colour, label=f"{name}, exact")
    ax.errorbar(
        1 / mine["T"],
        mine["crossings in 1,000 steps"],
        2 * mine["standard error"],
        color=colour,
        fmt=marker,
        mec="black",
        label=f"{name}, counted",
    )
ax.plot(1 / fine, [1000 * kramers(T) for T in fine], color="black", ls=":", label="Langevin, Kramers (ε → 0)")
ax.set(yscale="log", xlabel="1 / temperature", ylabel="crossings in 1,000 steps")
ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
plt.show()
pd.Series({f"T = {T:g}": 1000 * kramers(T) for T in TEMPERATURES}, name="Kramers, crossings in 1,000 steps").to_frame().T

# %% [markdown]
# **One law, three clocks.** All three have the right share of the wide well, within 0.025. Their counted rates agree with the exact ones:
# of twelve, eleven lie within two standard errors, and Langevin at T = 1.5 at 2.7. Langevin follows Kramers' formula; its exact rate, and that of HMC, fall
# tenfold from T = 1.5 to 0.6. That of Metropolis only halves, because a proposal of sd 1 can jump over the barrier and need not climb it.
#
# For one evaluation of U or its gradient, at T = 1, Metropolis crosses 7 times as often as HMC and 34 times as often as Langevin. That is a lesson about one dimension and no praise of Metropolis: a jump that lands in
# the other well is easy to guess on a line, and hopeless among thousands of weights. What does carry over is that methods that follow the gradient climb barriers at a rate that is
# exponentially small in barrier / T. Chains in separate modes of a network's posterior therefore do not mix by being run a little longer.
#
# ## 4. SGD leaves a sharp minimum
#
# Now a loss that is a mean over data, in one dimension. A slope w is fitted to two populations of rows: 19 % have x = ±8 and slope −1, the rest has x = ±1 and
# slope 1.5. The noise has heavy tails (`StudentT`), so rows of the other population are taken for outliers, and the loss has two minima. Rows with
# large x know w precisely, so theirs is sharp. Bad it is in that it misses 81 % of the rows.

# %%
N = 400 if FAST else 1000
SHARE, FAR = 0.19, 8.0
SHARP_W, WIDE_W = -1.0, 1.5
rng = np.random.default_rng(0)
few = np.arange(N) < SHARE * N
inputs = rng.choice([-1.0, 1.0], N) * np.where(few, FAR, 1.0)
targets = np.where(few, SHARP_W, WIDE_W) * inputs + rng.normal(size=N) * 0.8
data = (torch.tensor(inputs[:, None], dtype=torch.float64), torch.tensor(targets, dtype=torch.float64))
slope = bz.BNN(
    torch.nn.Linear(1, 1, bias=False).double(), bz.priors.Normal(10.0), bz.likelihoods.StudentT(scale=1.0, df=2.0)
)

# %% [markdown]
# The mean loss is U/N, with U = −log joint of this model. Beside it, at each w, the variance of the gradient of a single row's loss: what
# a minibatch of one row adds as noise.

# %%
w = np.linspace(-2.5, 4.0, 1301)
dw = w[1] - w[0]
residual = targets[None] - w[:, None] * inputs[None]
row_gradient = (
    -inputs[None] * 3.0 * residual / (2.0 + residual**2) + w[:, None] / 100.0 / N
)  # of −log Student-t, and of the prior
slopes = row_gradient.mean(1)
noise = row_gradient.var(1)
loss = (1.5 * np.log1p(residual**2 / 2.0)).mean(1) + w**2 / 200.0 / N
assert np.allclose(
    -np.asarray(bz.LogJoint(slope, data)(torch.tensor(w[::100, None]))[1][:, 0]) / N, slopes[::100]
)  # the library agrees

low = [i for i in range(1, len(w) - 1) if loss[i] < loss[i - 1] and loss[i] < loss[i + 1]]
sharp, wide = low[0], low[-1]
ridge = sharp + int(np.argmax(loss[sharp:wide]))
curvature = np.gradient(slopes, dw)
pd.DataFrame(
    {
        name: {"w": w[i], "loss": loss[i], "curvature": curvature[i], "variance of a row's gradient": noise[i]}
        for name, i in (("sharp minimum", sharp), ("top between", ridge), ("wide minimum", wide))
    }
).T

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", sharex=True)
left.plot(w, loss, color="black")
for i, name, colour in ((sharp, "sharp", RED), (wide, "wide", BLUE)):
    left.plot(w[i], loss[i], "o", color=colour, label=f"{name} minimum")
left.set(xlabel="w", ylabel="mean loss [nats]", xlim=(-2, 3.5), ylim=(loss.min() - 0.05, loss.min() + 0.8))
left.legend(frameon=False)
right.plot(w, noise, color="black")
right.set(xlabel="w", ylabel="variance of a row's gradient", ylim=(0, None))
plt.show()

# %% [markdown]
# ### The temperature of a batch
#
# A step of SGD with learning rate η and batches of n moves w by −η(L′ + noise), with noise of variance C(w)/n. A step of Langevin on U at temperature T, with ε = 2η/N, adds noise of variance εT.
# They match where
#
# $$T = \frac{N\,\eta\,C}{2\,n},$$
#
# or η C/(2n) on the scale of the mean loss. C differs from place to place; here it is taken at the sharp minimum, which is to be left. (On
# MNIST with the noise of variance η that some programs add, the same sum gives T = N/2 = 30,000: far from the posterior's 1.)
#
# SGD is `SGLD` at temperature 0 with a `batch_size`, Langevin the same class with all rows and this T. All chains start in the sharp minimum and run for the
# same time, learning rate × steps.

# %%
TIME = 60.0 if FAST else 120.0
RUNS = 40 if FAST else 100


def in_sharp(log_joint, chains, generator):
    return torch.full((chains, 1), float(w[sharp]), dtype=log_joint.dtype)


def heat(rate, batch, at=sharp):
    """Temperature on the scale of U that matches SGD's noise at a place."""
    return N * rate * noise[at] / (2 * batch)


def walk(rate, batch=None, temperature=0.0, time=TIME, keep=200, init=in_sharp, chains=RUNS):
    """w of all chains ``[chain, time]``."""
    steps = round(time / rate)
    backend = bz.SGLD(
        chains=chains,
        steps=steps,
        warmup=0,
        thinning=max(1, steps // keep),
        step_size=2 * rate / N,
        batch_size=batch,
        temperature=temperature,
        init=init,
    )
    return np.asarray(bz.fit(slope, data, backend, seed=2, progress=False).draws.sites["weight"][:]).reshape(chains, -1)


# %%
QUOTIENTS = (0.02, 0.005) if FAST else (0.02, 0.01, 0.02 / 3, 0.005)  # learning rate / batch
RATES = (0.04,) if FAST else (0.02, 0.04)
escapes = []
for quotient in QUOTIENTS:
    T = heat(quotient, 1)
    paths = {f"SGD, learning rate {rate:g}": walk(rate, round(rate / quotient)) for rate in RATES}
    paths["Langevin"] = walk(RATES[-1], None, T)
    shares = {name: (path[:, -1] > w[ridge]).mean() for name, path in paths.items()}
    escapes.append(
        {"rate / batch": quotient, "T, mean loss": T / N, "barrier / T": (loss[ridge] - loss[sharp]) * N / T} | shares
    )
escapes = pd.DataFrame(escapes).set_index("rate / batch")
escapes

# %%
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, colour, marker in zip(escapes.columns[2:], (ORANGE, RED, BLUE) if len(RATES) > 1 else (ORANGE, BLUE), "osD"):
    share = escapes[name]
    error = 2 * np.sqrt(share * (1 - share) / RUNS)
    ax.errorbar(escapes.index, share, error, fmt=f"{marker}-", color=colour, label=name)
ax.set(xscale="log", xlabel="learning rate / batch size", ylim=(-0.03, 1.03))
ax.set_xticks(escapes.index, [f"{q:.2g}" for q in escapes.index])
ax.xaxis.set_minor_formatter(NullFormatter())
ax.set_ylabel(f"share outside the sharp minimum at time {TIME:g}")
ax.legend(frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# The two minima have nearly the same loss, 1.744 and 1.754. **Escapes depend on learning rate / batch size**, as the analogy says: rates of 0.02 and 0.04 with the same quotient give the same shares (0.90 and 0.89;
# 0.03 and 0.03), and from a quotient of 0.02 to 0.0067 they fall from nine in ten to none of a hundred. Langevin at the matched temperature does the same in outline. In detail it differs:
# at 0.01 it leaves six times as often (18 against 3 of 100), probably since its noise stays as strong all the way up, while that of SGD is weaker at the top (C = 3.8) than at the bottom (8.1). At
# 0.02 fewer Langevin chains are outside at the end (0.82), because they also come back; the next section shows why SGD does not.
#
# ## 5. Where the analogy ends
#
# ### The noise depends on the place
#
# Heat is the same everywhere; the noise of SGD is C(w). Long runs from both minima show the laws that they end in, beside Boltzmann's at the matched temperature, and beside the law of a particle with
# the diffusion $D(w) = \eta C(w)/2n$, which by the Fokker–Planck equation is
#
# $$p(w)\propto\frac{1}{D(w)}\exp\Big(-\int^w\frac{L'}{D}\,dw\Big).$$

# %%
RATE, BATCH = 0.04, 2


def normalised(log_p):
    p = np.exp(log_p - log_p.max())
    return p / (p.sum() * dw)


D = RATE * noise / (2 * BATCH)
boltzmann = normalised(-loss / D[sharp])
place_dependent = normalised(-np.log(D) - np.cumsum(slopes / D) * dw)


def from_both(log_joint, chains, generator):
    return torch.tensor(w[[sharp, wide]], dtype=log_joint.dtype).repeat(chains // 2)[:, None]


LONG = 20.0 if FAST else 300.0
long_run = {
    "SGD": walk(RATE, BATCH, time=LONG, keep=1000, init=from_both, chains=RUNS),
    "Langevin": walk(RATE, None, heat(RATE, BATCH), time=LONG, keep=1000, init=from_both, chains=RUNS),
}
settled = {name: path[:, path.shape[1] // 2 :] for name, path in long_run.items()}

# %%
fig, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharex=True)
bins = np.linspace(-2, 3.5, 111)
for ax, (name, path), colour in zip(axes, settled.items(), (ORANGE, SKY)):
    ax.hist(path.ravel(), bins, density=True, color=colour, label=f"{name}, second half of the run")
    ax.plot(w, boltzmann, color="black", label="Boltzmann, T of the sharp minimum")
    ax.plot(w, place_dependent, color=RED, ls="--", label="law for D(w)")
    ax.set(xlabel="w", ylabel="density", xlim=(-2, 3.5), title=name)
    ax.legend(frameon=False, fontsize="small", loc="upper left")
plt.show()
outside = {
    "SGD": (settled["SGD"] > w[ridge]).mean(),
    "law for D(w)": place_dependent[ridge:].sum() * dw,
    "Langevin": (settled["Langevin"] > w[ridge]).mean(),
    "Boltzmann": boltzmann[ridge:].sum() * dw,
}
from_where = {
    f"{name}, started {start}": (path[k::2] > w[ridge]).mean()
    for name, path in settled.items()
    for k, start in enumerate(("sharp", "wide"))
}
spread = {f"sd in the wide minimum, {name}": path[path > w[ridge]].std() for name, path in settled.items()}
pd.Series(outside | from_where | spread).to_frame("share in the wide minimum (or sd)")

# %% [markdown]
# **SGD does not end in Boltzmann's law.** Boltzmann gives the wide minimum 76 % of the mass at this temperature, and Langevin has 80 %, wherever it started (its step is not small: ηλ = 0.36 in the sharp well). SGD has 99.6 %,
# and its sd there is 0.12 where Langevin's is 0.44. No single temperature explains both: in the wide minimum the variance of the gradient is a tenth of that in the sharp one, so SGD is hot in one
# and cold in the other, and drifts from hot to cold. The law for D(w) describes it well, the share and the shape. That preference for wide minima comes from the noise, and not from any entropy.
#
# (Batches are drawn without replacement, so the noise of an epoch adds up to zero. Here an epoch, 500 steps, is much longer than it takes to fall to a minimum, and the effect is small.)
#
# ### The noise depends on the direction
#
# Least squares in two dimensions, with inputs of different spread, is a case where all is known. The Hessian A of the mean loss has the eigenvalues below. Boltzmann's law has the covariance $T A^{-1}$: wide where the loss is flat. The
# noise of SGD has the covariance $C=\sigma^2 A/n$ at the minimum: strong where the loss is steep. What SGD ends in solves $S = (1-\eta A)\,S\,(1-\eta A)+\eta^2 C$ (Mandt, Hoffman & Blei 2017).

# %%
M = 500 if FAST else 4000
turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
X = rng.normal(size=(M, 2)) * np.sqrt([4.0, 0.25]) @ turn.T
Y = X @ [1.0, -1.0] + rng.normal(size=M)
plane = (torch.tensor(X), torch.tensor(Y))
line = bz.BNN(torch.nn.Linear(2, 1, bias=False).double(), bz.priors.Normal(10.0), bz.likelihoods.Gaussian(1.0))
A = X.T @ X / M + np.eye(2) / 100.0 / M
best = np.linalg.solve(A, X.T @ Y / M)
C = np.cov((X * (Y - X @ best)[:, None]).T)
ETA, SIZE = 0.1, 4
S = scipy.linalg.solve_discrete_lyapunov(np.eye(2) - ETA * A, ETA**2 * C / SIZE)
matched = np.trace(S) / np.trace(np.linalg.inv(A))  # temperature for the mean loss: as much spread in all


# %%
def at_best(log_joint, chains, generator):
    return torch.tensor(best).repeat(chains, 1)


few_steps = {"chains": 20 if FAST else 50, "steps": 1000 if FAST else 4000, "warmup": 200, "thinning": 20, "init": at_best}
clouds = {
    "SGD": bz.SGLD(step_size=2 * ETA / M, batch_size=SIZE, temperature=0.0, **few_steps),
    "Langevin": bz.SGLD(step_size=2 * ETA / M, temperature=M * matched, **few_steps),
}
clouds = {
    name: np.asarray(bz.fit(line, plane, backend, seed=3, progress=False).draws.sites["weight"][:]).reshape(-1, 2)
    for name, backend in clouds.items()
}
steepness, directions = np.linalg.eigh(A)
predicted = {"SGD": S, "Langevin": matched * np.linalg.inv(A)}
pd.DataFrame(
    {
        (name, f"curvature {steepness[k]:.3g}"): {
            "sd measured": ((cloud - best) @ directions[:, k]).std(),
            "sd by theory": np.sqrt(directions[:, k] @ predicted[name] @ directions[:, k]),
            "noise of a batch, variance": directions[:, k] @ C @ directions[:, k] / SIZE if name == "SGD" else np.nan,
        }
        for name, cloud in clouds.items()
        for k in (0, 1)
    }
).T

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharex=True, sharey=True)
angle = np.linspace(0, 2 * np.pi, 200)
circle = np.stack([np.cos(angle), np.sin(angle)])
for ax, (name, cloud), colour in zip(axes, clouds.items(), (ORANGE, SKY)):
    ax.plot(*cloud[::5].T, ".", ms=2, color=colour, label=name, rasterized=True)
    for title, covariance, style in (("SGD, by theory", S, "--"), ("Boltzmann", predicted["Langevin"], "-")):
        ellipse = best[:, None] + 2 * np.linalg.cholesky(covariance) @ circle
        ax.plot(*ellipse, color="black", ls=style, label=f"{title}, two sds")
    ax.set(title=name, xlabel="w₁", ylabel="w₂")
    ax.set_aspect("equal")
axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=4)
plt.show()

# %% [markdown]
# ### In a network
#
# The gradients of single rows of a 10-10-1 network on the diabetes data (embedded in scikit-learn), at its start and after training. If the noise were heat, the eigenvalues of their
# covariance would be equal, and the same at both places.

# %%
task = bz.data.table("diabetes")
torch.manual_seed(0)
net = bz.nets.MLP(10, 1, hidden=(10,)).double()
rows_x, rows_y = task.x.double(), task.y.double()


def row_loss(weights, one_x, one_y):
    return 0.5 * (functional_call(net, weights, (one_x[None],))[0, 0] - one_y) ** 2


def spectrum():
    """Eigenvalues of the covariance of single rows' gradients, the largest first."""
    weights = {name: p.detach() for name, p in net.named_parameters()}
    each = vmap(grad(row_loss), in_dims=(None, 0, 0))(weights, rows_x, rows_y)
    flat = torch.cat([g.reshape(len(rows_x), -1) for g in each.values()], 1)
    return np.linalg.eigvalsh(np.cov(flat.numpy().T))[::-1]


spectra = {"start": spectrum()}
optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
for _ in range(200 if FAST else 2000):
    optimiser.zero_grad()
    (0.5 * (net(rows_x)[:, 0] - rows_y).square().mean()).backward()
    optimiser.step()
spectra["trained"] = spectrum()

# %%
fig, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for (name, values), colour, marker in zip(spectra.items(), (BLUE, ORANGE), "os"):
    ax.plot(np.arange(1, len(values) + 1), values, marker, ms=3, color=colour, label=name)
ax.set(yscale="log", ylim=(1e-7, None), xlabel="direction, sorted", ylabel="variance of a row's gradient")
ax.legend(frameon=False)
plt.show()
pd.DataFrame(
    {
        name: {
            "trace": v.sum(),
            "share of the largest direction": v[0] / v.sum(),
            "share of the five largest of 121": v[:5].sum() / v.sum(),
            "largest / median": v[0] / np.median(v),
        }
        for name, v in spectra.items()
    }
).T

# %% [markdown]
# Five of 121 directions have 83 % of the noise at the start and 73 % after training, and the largest has 8,000 and 1,300 times the median's. So in a network, too, the noise is
# neither alike in all directions nor the same at two places: the median direction has become noisier with training, though the trace is the same.
#
# In the plane above, SGD's cloud is nearly round (sd 0.11 along the flat direction, 0.13 along the steep one), where Boltzmann's law has 0.16 and 0.040. Langevin has 0.16 and 0.045: too wide where it
# is steep, because the step is large there (ηλ = 0.41 multiplies the variance by 1/(1 − ηλ/2)). An SGD cloud is no posterior at any temperature: its shape is wrong, not its size.
#
# ## What carries over, and what does not
#
# - **Carries over:** the posterior is Boltzmann's law at T = 1; temperature trades energy for entropy; samplers of physics sample it, and the rates at which they cross barriers can be computed and are met.
# - **Carries over in part:** minibatch noise leaves sharp minima, at a rate that depends on learning rate / batch size and falls steeply with the barrier.
# - **Does not carry over:** that noise as a temperature. It depends on place and direction. SGD prefers wide minima more strongly, and is narrower in them, than Boltzmann's law at the matched temperature; on a
#   quadratic loss its cloud is round where the posterior is long.
# - For a posterior, add noise of the right size to the right gradient (`SGLD` with small steps, or a sampler with an accept step), and do not read the scatter of SGD as uncertainty.
#
# To try it with your own energy, change `U` and the two places `DEEP` and `WIDE`; everything up to section 4 follows.
