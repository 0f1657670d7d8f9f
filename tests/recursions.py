"""Time series as users write them in Pyro: loops in Python, with a numpy likelihood beside those of the classics.

Every model takes the series ``y [time]`` alone, or with a covariate before it.
"""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor


def arma(y: Tensor) -> None:
    """ARMA(1, 1), as in posteriordb; the errors enter by a factor."""
    mu, phi, theta = (pyro.sample(name, dist.Normal(0.0, sd)) for name, sd in (("mu", 10.0), ("phi", 2.0), ("theta", 2.0)))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    errors = [y[0] - mu - phi * mu]
    for t in range(1, len(y)):
        errors.append(y[t] - mu - phi * y[t - 1] - theta * errors[t - 1])
    pyro.factor("likelihood", dist.Normal(0.0, sigma).log_prob(torch.stack(errors)).sum())


def arma_density(u: np.ndarray, y: np.ndarray) -> complex:
    """The log joint of ``arma`` at ``u = (μ, φ, θ, log σ)``, which may be complex."""
    mu, phi, theta, log_sigma = u
    sigma, error, total = np.exp(log_sigma), y[0] - mu - phi * mu, 0.0
    for t in range(len(y)):
        error = error if t == 0 else y[t] - mu - phi * y[t - 1] - theta * error
        total += _normal(error, 0.0, sigma)
    prior = _normal(mu, 0.0, 10.0) + _normal(phi, 0.0, 2.0) + _normal(theta, 0.0, 2.0)
    return total + prior + np.log(2.0 / (np.pi * 2.5)) - np.log(1.0 + (sigma / 2.5) ** 2) + log_sigma


def garch(y: Tensor) -> None:
    """GARCH(1, 1) with β₁ = (1 − α₁) b, as in posteriordb."""
    mu, alpha0 = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("alpha0", dist.HalfNormal(5.0))
    alpha1, b = pyro.sample("alpha1", dist.Uniform(0.0, 1.0)), pyro.sample("b", dist.Uniform(0.0, 1.0))
    sigma = [torch.as_tensor(0.5, dtype=y.dtype)]
    for t in range(1, len(y)):
        sigma.append(torch.sqrt(alpha0 + alpha1 * (y[t - 1] - mu) ** 2 + (1 - alpha1) * b * sigma[t - 1] ** 2))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, torch.stack(sigma)), obs=y)


def garch_density(u: np.ndarray, y: np.ndarray) -> complex:
    """The log joint of ``garch`` at ``u = (μ, log α₀, logit α₁, logit b)``, which may be complex."""
    mu, log_alpha0, *logits = u
    alpha0, (alpha1, b) = np.exp(log_alpha0), (1.0 / (1.0 + np.exp(-x)) for x in logits)
    sigma, total = 0.5, _normal(y[0], mu, 0.5)
    for t in range(1, len(y)):
        sigma = np.sqrt(alpha0 + alpha1 * (y[t - 1] - mu) ** 2 + (1 - alpha1) * b * sigma**2)
        total += _normal(y[t], mu, sigma)
    prior = _normal(mu, 0.0, 5.0) + np.log(2.0) + _normal(alpha0, 0.0, 5.0) + log_alpha0
    return total + prior + sum(np.log(p * (1.0 - p)) for p in (alpha1, b))


def local_level(y: Tensor) -> None:
    """AR(1) with noise: a latent site in each step."""
    s, r = pyro.sample("s", dist.HalfNormal(1.0)), pyro.sample("r", dist.HalfNormal(1.0))
    phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
    x = torch.zeros((), dtype=y.dtype)
    for t in pyro.markov(range(len(y))):
        x = pyro.sample(f"x_{t}", dist.Normal(phi * x, s))
        pyro.sample(f"y_{t}", dist.Normal(x, r), obs=y[t])


def local_level_density(u: np.ndarray, y: np.ndarray) -> complex:
    """The log joint of ``local_level`` at ``u = (log s, log r, φ, x…)``, which may be complex."""
    log_s, log_r, phi, *x = u
    s, r = np.exp(log_s), np.exp(log_r)
    prior = 2 * np.log(2.0) + _normal(s, 0.0, 1.0) + _normal(r, 0.0, 1.0) + log_s + log_r + _normal(phi, 0.0, 1.0)
    steps = (_normal(b, phi * a, s) + _normal(c, b, r) for a, b, c in zip([0.0, *x[:-1]], x, y, strict=True))
    return prior + sum(steps)


def volatility(y: Tensor) -> None:
    """Stochastic volatility, non-centred: pieces of a latent vector."""
    mu, s = pyro.sample("mu", dist.Normal(-1.0, 1.0)), pyro.sample("s", dist.HalfCauchy(1.0))
    phi = pyro.sample("phi", dist.Uniform(-1.0, 1.0))
    z = pyro.sample("z", dist.Normal(torch.zeros_like(y), 1.0).to_event(1))
    h = [z[0] * s / torch.sqrt(1 - phi**2) + mu]
    for t in range(1, len(y)):
        h.append(mu + phi * (h[t - 1] - mu) + s * z[t])
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(0.0, torch.exp(torch.stack(h) / 2)), obs=y)


def walk(y: Tensor) -> None:
    """Random walk, non-centred, with an observed site in each step: a sum that is used on its way."""
    s = pyro.sample("s", dist.HalfNormal(1.0))
    x = torch.zeros((), dtype=y.dtype)
    for t in range(len(y)):
        x = x + s * pyro.sample(f"z_{t}", dist.Normal(0.0, 1.0))
        pyro.sample(f"y_{t}", dist.Normal(x, 0.3), obs=y[t])


def two_lags(y: Tensor) -> None:
    """Two lags, and a number of its own in each step."""
    a, b = pyro.sample("a", dist.Normal(0.0, 1.0)), pyro.sample("b", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    before = last = torch.zeros((), dtype=y.dtype)
    for t in range(len(y)):
        mean = a * last + b * before + 0.01 * t
        before, last = last, y[t] - mean
        pyro.sample(f"y_{t}", dist.StudentT(4.0, mean, sigma), obs=y[t])


def kalman(y: Tensor) -> None:
    """The local level with its states integrated out."""
    q, r = pyro.sample("q", dist.HalfNormal(1.0)), pyro.sample("r", dist.HalfNormal(1.0))
    mean, variance, total = torch.zeros((), dtype=y.dtype), torch.ones((), dtype=y.dtype), 0.0
    for t in range(len(y)):
        variance = variance + q**2
        total = total + dist.Normal(mean, torch.sqrt(variance + r**2)).log_prob(y[t])
        gain = variance / (variance + r**2)
        mean, variance = mean + gain * (y[t] - mean), (1 - gain) * variance
    pyro.factor("likelihood", total)


def hidden_states(y: Tensor) -> None:
    """Three hidden states by the forward algorithm: a sum in each step."""
    rows = pyro.sample("rows", dist.Dirichlet(torch.ones(3, 3, dtype=y.dtype)).to_event(1))
    means = pyro.sample("means", dist.Normal(torch.zeros(3, dtype=y.dtype), 2.0).to_event(1))
    log_alpha = dist.Normal(means, 1.0).log_prob(y[0])
    for t in range(1, len(y)):
        log_alpha = torch.logsumexp(log_alpha[:, None] + rows.log(), 0) + dist.Normal(means, 1.0).log_prob(y[t])
    pyro.factor("likelihood", torch.logsumexp(log_alpha, 0))


def recurrent(y: Tensor) -> None:
    """A recurrent network of four units: a matrix product in each step."""
    zeros = torch.zeros(4, dtype=y.dtype)
    w = pyro.sample("w", dist.Normal(zeros.expand(4, 4), 1.0).to_event(2))
    u, o = (pyro.sample(name, dist.Normal(zeros, 1.0).to_event(1)) for name in ("u", "o"))
    h, means = zeros, []
    for t in range(len(y)):
        means.append((o * h).sum())
        h = torch.tanh(w @ h + u * y[t])
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(torch.stack(means), 1.0), obs=y)


def seasons(y: Tensor) -> None:
    """A loop over rows in a plate, with an effect that comes again every three steps."""
    effect = pyro.sample("effect", dist.Normal(torch.zeros(3, dtype=y.dtype), 1.0).to_event(1))
    for t in pyro.plate("time", len(y)):
        pyro.sample(f"y_{t}", dist.Normal(effect[t % 3], 1.0), obs=y[t])


def broken(y: Tensor) -> None:
    """An AR(1) process of its own errors that changes its law in the middle."""
    a, sigma = pyro.sample("a", dist.Normal(0.0, 1.0)), pyro.sample("sigma", dist.HalfNormal(1.0))
    error = torch.zeros((), dtype=y.dtype)
    for t in range(len(y)):
        error = torch.tanh(y[t] - a * error) if t == len(y) // 2 else y[t] - a * error
        pyro.sample(f"e_{t}", dist.Normal(error, sigma), obs=y[t])


MODELS = (arma, garch, local_level, volatility, walk, two_lags, kalman, hidden_states, recurrent, seasons, broken)
DENSITIES = {arma: arma_density, garch: garch_density, local_level: local_level_density}


def series(length: int, noise: float = 0.0) -> Tensor:
    """An ARMA(1, 1) series, seen with noise of this sd."""
    generator, y, error = np.random.default_rng(0), [0.0], 0.0
    for new in 0.5 * generator.normal(size=length):
        y.append(0.3 + 0.7 * y[-1] + 0.4 * error + new)
        error = new
    return torch.tensor(np.array(y[1:]) + noise * generator.normal(size=length))


def _normal(x: complex, mean: complex, sd: complex) -> complex:
    return -0.5 * ((x - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
