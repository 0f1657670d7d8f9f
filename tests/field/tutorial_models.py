"""Models as Pyro's and NumPyro's tutorials and forum write them, each with small data and what is known of its posterior.

``CASES[name]`` has the model, its data in float64, a log density of the sites' own values written with SciPy alone (where
that is easy), and posterior means and standard deviations by closed form or quadrature (where that is possible).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import OrderedTransform, SimplexToOrderedTransform
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import PyroModule, PyroSample
from scipy import special, stats
from torch.distributions import constraints

Moments = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Case:
    """``density(values) -> float`` of constrained site values as arrays; ``moments() -> {site: (mean, sd)}``.

    ``long`` multiplies the number of draws where sites mix slowly.
    """

    model: Callable[..., Any]
    data: tuple[Any, ...]
    density: Callable[[dict[str, np.ndarray]], float] | None = None
    moments: Callable[[], Moments] | None = None
    long: int = 1


def on_grid(log_density: Callable[..., np.ndarray], **axes: np.ndarray) -> Moments:
    """Posterior moments by the trapezoidal rule; axes are equally spaced in u, ``("log", u)`` stands for exp(u), and
    ``("logit", u)`` for 1 / (1 + exp(−u)). Raises AssertionError where the grid cuts off more than e⁻¹⁰ of the peak."""
    values, jacobian = [], 0.0
    shape = [len(a[1]) for a in axes.values()]
    for i, (kind, u) in enumerate(axes.values()):
        u = u.reshape([-1 if j == i else 1 for j in range(len(shape))])
        map_, slope = {
            "": (u, 0.0 * u),
            "log": (np.exp(np.minimum(u, 700)), u),
            "logit": (special.expit(u), special.log_expit(u) + special.log_expit(-u)),
        }[kind]
        values.append(map_)
        jacobian = jacobian + slope
    lp = np.broadcast_to(log_density(*values) + jacobian, shape)
    lp = lp - lp.max()
    for i in range(len(shape)):
        edges = max(lp.take(0, i).max(), lp.take(-1, i).max())
        assert edges < -10, f"the grid of {list(axes)[i]} is too narrow: {edges:.3g}"
    p = np.exp(lp) / np.exp(lp).sum()
    out = {}
    for name, v in zip(axes, values, strict=True):
        mean = (p * v).sum()
        out[name] = (mean, ((p * (v - mean) ** 2).sum()) ** 0.5)
    return out


def line(low, high, n=160):
    return "", np.linspace(low, high, n)


def logs(low, high, n=160):
    return "log", np.linspace(low, high, n)


def logits(low, high, n=160):
    return "logit", np.linspace(low, high, n)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def rng(seed):
    return np.random.default_rng(seed)


def floats(a):
    return torch.as_tensor(np.asarray(a, dtype=float), dtype=torch.float64)


norm, halfcauchy, halfnorm = stats.norm.logpdf, stats.halfcauchy.logpdf, stats.halfnorm.logpdf
CASES: dict[str, Case] = {}

# ---------------------------------------------------------------- hierarchies

SIGMA, EFFECT = tensor(15, 10, 16, 11, 9, 11, 10, 18), tensor(28, 8, -3, 7, -1, 1, 18, 12)


def schools(sigma, y):
    mu = pyro.sample("mu", dist.Normal(0, 5))
    tau = pyro.sample("tau", dist.HalfCauchy(5))
    with pyro.plate("J", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("obs", dist.Normal(theta, sigma), obs=y)


def schools_density(v):
    s, y = SIGMA.numpy(), EFFECT.numpy()
    return (
        norm(v["mu"], 0, 5) + halfcauchy(v["tau"], 0, 5)
        + norm(v["theta_decentered"]).sum()
        + norm(y, v["mu"] + v["tau"] * v["theta_decentered"], s).sum()
    )  # fmt: skip


def schools_moments():
    def lp(mu, tau):
        total = norm(mu, 0, 5) + halfcauchy(tau, 0, 5)
        return total + sum(norm(y, mu, np.hypot(tau, s)) for y, s in zip(EFFECT.numpy(), SIGMA.numpy(), strict=True))

    return on_grid(lp, mu=line(-30, 40), tau=logs(-14, 7, 400))


CASES["eight schools, decentred by LocScaleReparam"] = Case(
    poutine.reparam(schools, config={"theta": LocScaleReparam(centered=0.0)}),
    (SIGMA, EFFECT),
    schools_density,
    schools_moments,
)

AT_BATS, HITS = tensor(45, 45, 45, 45, 45, 45, 45, 45), tensor(18, 17, 16, 15, 13, 12, 10, 7)


def baseball(at_bats, hits):
    """Pyro's baseball example: partial pooling with a Pareto concentration."""
    m = pyro.sample("m", dist.Uniform(0, 1))
    kappa = pyro.sample("kappa", dist.Pareto(1, 1.5))
    with pyro.plate("players", at_bats.shape[0]):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def baseball_density(v):
    a, b = v["m"] * v["kappa"], (1 - v["m"]) * v["kappa"]
    n, k = AT_BATS.numpy(), HITS.numpy()
    return (
        stats.pareto.logpdf(v["kappa"], 1.5) + stats.beta.logpdf(v["phi"], a, b).sum()
        + stats.binom.logpmf(k, n, v["phi"]).sum()
    )  # fmt: skip


def baseball_moments():
    def lp(m, more):
        kappa = 1 + more
        a, b = m * kappa, (1 - m) * kappa
        rows = zip(HITS.numpy(), AT_BATS.numpy(), strict=True)
        return -2.5 * np.log(kappa) + sum(special.betaln(a + k, b + n - k) - special.betaln(a, b) for k, n in rows)

    return {"m": on_grid(lp, m=logits(-4, 4, 200), more=logs(-10, 20, 600))["m"]}


CASES["batting averages, a beta for each player"] = Case(baseball, (AT_BATS, HITS), baseball_density, baseball_moments)


GROUP = torch.arange(24) % 4
SLOPES = {
    "x": floats(rng(1).normal(size=24)),
    "y": floats(1.0 + rng(2).normal(size=4)[GROUP] + (0.5 + 0.3 * rng(3).normal(size=4)[GROUP]) * rng(1).normal(size=24)
                + 0.5 * rng(4).normal(size=24)),
}  # fmt: skip


def varying_slopes(group, x, y):
    """Intercept and slope of each group, correlated (McElreath's cafés)."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    sd = pyro.sample("sd", dist.HalfNormal(torch.ones(2)).to_event(1))
    corr = pyro.sample("corr", dist.LKJCholesky(2, concentration=2.0))
    noise = pyro.sample("noise", dist.Exponential(1.0))
    groups = int(group.max()) + 1
    with pyro.plate("groups", groups, dim=-1):
        ab = pyro.sample("ab", dist.MultivariateNormal(mean, scale_tril=sd.diag() @ corr))
    a, b = ab.unbind(-1)
    with pyro.plate("rows", len(y), dim=-1):
        pyro.sample("y", dist.Normal(a[group] + b[group] * x, noise), obs=y)


CASES["varying slopes, LKJ between them"] = Case(varying_slopes, (GROUP, SLOPES["x"], SLOPES["y"]), long=2)


def lkj_normal(y):
    """The example of the documentation of LKJCholesky."""
    d = y.shape[1]
    theta = pyro.sample("theta", dist.HalfCauchy(torch.ones(d)).to_event(1))
    omega = pyro.sample("L_omega", dist.LKJCholesky(d, torch.tensor(1.0)))
    tril = torch.mm(torch.diag(theta.sqrt()), omega)
    with pyro.plate("observations", len(y)):
        return pyro.sample("obs", dist.MultivariateNormal(torch.zeros(d), scale_tril=tril), obs=y)


TRIPLES = floats(rng(5).normal(size=(20, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 1.2]]))


def lkj_density(v):
    tril = np.diag(v["theta"] ** 0.5) @ v["L_omega"]
    rows = stats.multivariate_normal.logpdf(TRIPLES.numpy(), np.zeros(3), tril @ tril.T).sum()
    # correlation matrices of three variables fill a volume of π²/2 (Joe 2006); ∂R/∂L = L₂₂
    flat = np.log(v["L_omega"][1, 1]) - np.log(np.pi**2 / 2)
    return halfcauchy(v["theta"]).sum() + flat + rows


CASES["covariance by LKJ"] = Case(lkj_normal, (TRIPLES,), lkj_density)

STUDENT, ITEM = 10, 6
ANSWERS = floats(
    rng(6).random((STUDENT, ITEM))
    < special.expit(rng(7).normal(size=(STUDENT, 1)) - np.linspace(-1, 1, ITEM)) + 0.0
)  # fmt: skip


def two_parameter_irt(answers):
    """Item response theory: crossed plates, ability to the left of items."""
    students, items = answers.shape
    plate_s, plate_i = pyro.plate("students", students, dim=-2), pyro.plate("items", items, dim=-1)
    with plate_s:
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
    with plate_i:
        difficulty = pyro.sample("difficulty", dist.Normal(0.0, 1.0))
        discrimination = pyro.sample("discrimination", dist.LogNormal(0.0, 0.5))
    with plate_s, plate_i:
        pyro.sample("answers", dist.Bernoulli(logits=discrimination * (ability - difficulty)), obs=answers)


def irt_density(v):
    z = v["discrimination"] * (v["ability"] - v["difficulty"])
    y = ANSWERS.numpy()
    prior = norm(v["ability"]).sum() + norm(v["difficulty"]).sum() + stats.lognorm.logpdf(v["discrimination"], 0.5).sum()
    return prior + np.where(y == 1, special.log_expit(z), special.log_expit(-z)).sum()


CASES["item response, crossed plates"] = Case(two_parameter_irt, (ANSWERS,), irt_density)

HOME, AWAY = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 2]), torch.tensor([1, 2, 3, 0, 2, 3, 0, 1, 3, 1])
WON = tensor(1, 1, 0, 0, 1, 1, 0, 1, 1, 0)


def bradley_terry(home, away, won):
    teams = int(max(home.max(), away.max())) + 1
    sd = pyro.sample("sd", dist.HalfNormal(1.0))
    advantage = pyro.sample("advantage", dist.Normal(0.0, 0.5))
    with pyro.plate("teams", teams):
        skill = pyro.sample("skill", dist.Normal(0.0, sd))
    for i in pyro.plate("games", len(won)):  # sequential
        pyro.sample(f"won_{i}", dist.Bernoulli(logits=skill[home[i]] - skill[away[i]] + advantage), obs=won[i])


def terry_density(v):
    z = v["skill"][HOME.numpy()] - v["skill"][AWAY.numpy()] + v["advantage"]
    rows = np.where(WON.numpy() == 1, special.log_expit(z), special.log_expit(-z)).sum()
    return halfnorm(v["sd"]) + norm(v["advantage"], 0, 0.5) + norm(v["skill"], 0, v["sd"]).sum() + rows


CASES["paired comparisons, sequential plate"] = Case(bradley_terry, (HOME, AWAY, WON), terry_density, long=2)

# ---------------------------------------------------------------- regressions

X3 = floats(rng(8).normal(size=(30, 3)))
Y3 = floats(X3.numpy() @ np.array([1.0, -0.5, 0.0]) + 0.7 + 0.4 * rng(9).normal(size=30))
WEIGHT = dist.Normal(0.0, 1.0, validate_args=True)


class BayesianRegression(PyroModule):
    """Pyro's first tutorial: ``PyroModule[nn.Linear]`` with sampled weight and bias."""

    def __init__(self, columns):
        super().__init__()
        self.linear = PyroModule[torch.nn.Linear](columns, 1)
        self.linear.weight = PyroSample(WEIGHT.expand([1, columns]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x, y=None):
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


def regression_density(v):
    w, b, s = v["linear.weight"], v["linear.bias"], v["sigma"]
    mean = X3.numpy() @ w[0] + b[0]
    return norm(w).sum() + norm(b, 0, 10).sum() - np.log(10) + norm(Y3.numpy(), mean, s).sum()


def regression_moments():
    """Given sigma the weights are normal; sigma by quadrature."""
    design = np.column_stack([X3.numpy(), np.ones(30)])
    prior = np.diag([1.0, 1.0, 1.0, 100.0])
    return _conjugate(design, Y3.numpy(), np.zeros(4), prior, np.exp(np.linspace(-3, np.log(10), 2000)), lambda s: 0 * s)


def _conjugate(design, y, m0, prior, sigmas, log_prior):
    """Moments of ``linear.weight``, ``linear.bias`` and ``sigma`` of a normal regression; log-spaced ``sigmas``."""
    logs_, means, seconds = [], [], []
    for s in sigmas:
        logs_.append(
            stats.multivariate_normal.logpdf(y, design @ m0, s**2 * np.eye(len(y)) + design @ prior @ design.T)
            + np.log(s)
            + log_prior(s)
        )
        cov = np.linalg.inv(design.T @ design / s**2 + np.linalg.inv(prior))
        mean = cov @ (design.T @ y / s**2 + np.linalg.solve(prior, m0))
        means.append(mean)
        seconds.append(np.diag(cov) + mean**2)
    p = np.exp(np.array(logs_) - max(logs_))
    p /= p.sum()
    mean, sd_s = p @ np.array(means), (p @ sigmas**2 - (p @ sigmas) ** 2) ** 0.5
    sd = (p @ np.array(seconds) - mean**2) ** 0.5
    k = len(m0) - 1
    return {
        "linear.weight": (mean[None, :k], sd[None, :k]),
        "linear.bias": (mean[k:], sd[k:]),
        "sigma": (p @ sigmas, sd_s),
    }


CASES["regression as a PyroModule"] = Case(BayesianRegression(3), (X3, Y3), regression_density, regression_moments)

TRIED, ADMITTED = tensor(82, 56, 32, 59, 58, 37), tensor(51, 35, 12, 13, 26, 3)
WOMAN = torch.tensor([0, 1, 0, 1, 0, 1])


def admissions(woman, tried, admitted):
    """Overdispersed binomial counts: BetaBinomial."""
    a = pyro.sample("a", dist.Normal(0.0, 1.5).expand([2]).to_event(1))
    phi = pyro.sample("phi", dist.Exponential(1.0))
    theta = pyro.deterministic("theta", phi + 2.0)
    p = pyro.deterministic("p", a.sigmoid(), event_dim=1)
    with pyro.plate("departments", len(tried)):
        law = dist.BetaBinomial(p[woman] * theta, (1 - p[woman]) * theta, total_count=tried)
        pyro.sample("admitted", law, obs=admitted)


def admissions_density(v):
    p, theta = special.expit(v["a"])[WOMAN.numpy()], v["phi"] + 2
    n, k = TRIED.numpy(), ADMITTED.numpy()
    rows = stats.betabinom.logpmf(k, n, p * theta, (1 - p) * theta).sum()
    return norm(v["a"], 0, 1.5).sum() - v["phi"] + rows


def admissions_moments():
    def lp(a0, a1, phi):
        total = norm(a0, 0, 1.5) + norm(a1, 0, 1.5) - phi
        for w, n, k in zip(WOMAN.numpy(), TRIED.numpy(), ADMITTED.numpy(), strict=True):
            p, theta = special.expit(a1 if w else a0), phi + 2
            a, b = p * theta, (1 - p) * theta
            total = total + special.betaln(a + k, b + n - k) - special.betaln(a, b)
        return total

    found = on_grid(lp, a0=line(-7, 7, 90), a1=line(-7, 7, 90), phi=logs(-13, 4, 120))
    a = tuple(np.array(pair) for pair in zip(found["a0"], found["a1"], strict=True))
    return {"a": a, "phi": found["phi"]}


CASES["admissions, beta-binomial"] = Case(admissions, (WOMAN, TRIED, ADMITTED), admissions_density, admissions_moments)

CLAIMS, EXPOSURE = tensor(2, 0, 3, 7, 1, 4, 12, 0, 2, 5), tensor(1, 1, 2, 2, 1, 3, 3, 1, 2, 2)


def counts(exposure, y):
    """Overdispersed counts as a gamma-Poisson with an offset."""
    rate = pyro.sample("rate", dist.LogNormal(0.0, 1.0))
    shape = pyro.sample("shape", dist.Gamma(2.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.GammaPoisson(shape, shape / (rate * exposure)), obs=y)


def counts_density(v):
    mean, a = v["rate"] * EXPOSURE.numpy(), v["shape"]
    rows = stats.nbinom.logpmf(CLAIMS.numpy(), a, a / (a + mean)).sum()
    return stats.lognorm.logpdf(v["rate"], 1) + stats.gamma.logpdf(a, 2) + rows


def counts_moments():
    def lp(rate, shape):
        prior = stats.lognorm.logpdf(rate, 1) + stats.gamma.logpdf(shape, 2)
        rows = zip(CLAIMS.numpy(), EXPOSURE.numpy(), strict=True)
        return prior + sum(stats.nbinom.logpmf(y, shape, shape / (shape + rate * e)) for y, e in rows)

    return on_grid(lp, rate=logs(-3, 4), shape=logs(-7, 4))


CASES["counts, gamma-Poisson"] = Case(counts, (EXPOSURE, CLAIMS), counts_density, counts_moments)

CHILDREN = tensor(*(rng(10).integers(0, 3, 24)))
FISH = tensor(*(rng(11).poisson(np.exp(0.8 + 0.4 * CHILDREN.numpy())) * (rng(12).random(24) < 0.7)))


def zero_inflated(children, fish):
    """NumPyro's zero-inflated example: how many fish the visitors of a park caught."""
    with pyro.plate("regressors", 2):
        b = pyro.sample("b_rate", dist.Normal(0.0, 1.0))
    gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
    rate = torch.exp(b[0] + b[1] * children)
    with pyro.plate("data", fish.size(0)):
        pyro.sample("obs", dist.ZeroInflatedPoisson(rate, gate=gate), obs=fish)


def fish_log_joint(b0, b1, gate):
    total = norm(b0) + norm(b1) + 0.0 * gate
    for c, y in zip(CHILDREN.numpy(), FISH.numpy(), strict=True):
        poisson = stats.poisson.logpmf(y, np.exp(b0 + b1 * c))
        row = np.log1p(-gate) + poisson
        total = total + (np.logaddexp(np.log(gate), row) if y == 0 else row)
    return total


def fish_moments():
    found = on_grid(fish_log_joint, b0=line(-1.5, 2.5, 70), b1=line(-0.8, 1.4, 70), gate=logits(-9, 3, 70))
    b = tuple(np.array(pair) for pair in zip(found["b0"], found["b1"], strict=True))
    return {"b_rate": b, "gate": found["gate"]}


CASES["fish, zero-inflated Poisson"] = Case(
    zero_inflated, (CHILDREN, FISH), lambda v: fish_log_joint(*v["b_rate"], v["gate"]), fish_moments
)

X1 = floats(np.linspace(-1, 1, 15))
Y1 = floats(0.3 + 1.2 * X1.numpy() + 0.2 * rng(13).standard_t(2, 15))


def robust(x, y):
    """Regression with Student's t noise, its degrees of freedom unknown."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    nu = pyro.sample("nu", dist.Gamma(2.0, 0.1))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.StudentT(nu, a + b * x, scale), obs=y)


def robust_density(v):
    prior = norm(v["a"]) + norm(v["b"]) + halfnorm(v["scale"]) + stats.gamma.logpdf(v["nu"], 2, scale=10)
    return prior + stats.t.logpdf(Y1.numpy(), v["nu"], v["a"] + v["b"] * X1.numpy(), v["scale"]).sum()


CASES["regression, Student's t noise"] = Case(robust, (X1, Y1), robust_density)

X6 = floats(rng(14).normal(size=(25, 6)))
Y6 = floats(X6.numpy() @ np.array([2.0, 0, 0, -1.0, 0, 0]) + 0.5 * rng(15).normal(size=25))


def horseshoe(x, y):
    """NumPyro's horseshoe regression."""
    columns = x.shape[1]
    lambdas = pyro.sample("lambdas", dist.HalfCauchy(torch.ones(columns)).to_event(1))
    tau = pyro.sample("tau", dist.HalfCauchy(torch.ones(1)).to_event(1))
    unscaled = pyro.sample("unscaled_betas", dist.Normal(0.0, torch.ones(columns)).to_event(1))
    betas = pyro.deterministic("betas", tau * lambdas * unscaled, event_dim=1)
    precision = pyro.sample("prec_obs", dist.Gamma(3.0, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x @ betas, precision.rsqrt()), obs=y)


def horseshoe_density(v):
    mean = X6.numpy() @ (v["tau"] * v["lambdas"] * v["unscaled_betas"])
    prior = halfcauchy(v["lambdas"]).sum() + halfcauchy(v["tau"]).sum() + norm(v["unscaled_betas"]).sum()
    return prior + stats.gamma.logpdf(v["prec_obs"], 3) + norm(Y6.numpy(), mean, v["prec_obs"] ** -0.5).sum()


CASES["horseshoe regression"] = Case(horseshoe, (X6, Y6), horseshoe_density, long=2)

CUTS = torch.tensor(np.digitize(X1.numpy() + 0.7 * rng(16).logistic(size=15), [-0.6, 0.5]))


def ordinal(x, y):
    """Ordered outcomes; cutpoints are a transformed normal."""
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    raw = dist.Normal(torch.tensor([-1.0, 1.0]), 2.0).to_event(1)
    cuts = pyro.sample("cuts", dist.TransformedDistribution(raw, OrderedTransform()))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.OrderedLogistic(b * x, cuts), obs=y)


def ordinal_rows(eta, cuts, y):
    """Log probability of each of three ordered classes."""
    above = special.expit(eta[:, None] - cuts)
    p = np.column_stack([1 - above[:, 0], above[:, 0] - above[:, 1], above[:, 1]])
    return np.log(p[np.arange(len(y)), y]).sum()


def ordinal_density(v):
    c, raw = v["cuts"], np.array([v["cuts"][0], np.log(v["cuts"][1] - v["cuts"][0])])
    prior = norm(v["b"]) + norm(raw, [-1, 1], 2).sum() - raw[1]
    return prior + ordinal_rows(v["b"] * X1.numpy(), c, CUTS.numpy())


CASES["ordinal regression"] = Case(ordinal, (X1, CUTS), ordinal_density)


def ordinal_dirichlet(y):
    """NumPyro's ordinal tutorial: cutpoints induced by a Dirichlet over the classes; closed form given the anchor."""
    anchor = 0.0
    simplex = dist.Dirichlet(torch.ones(3))
    to_cuts = SimplexToOrderedTransform(torch.tensor(anchor))
    cuts = pyro.sample("cuts", dist.TransformedDistribution(simplex, to_cuts))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.OrderedLogistic(torch.full(y.shape, anchor), cuts), obs=y)


def induced_moments():
    """Classes' probabilities are Dirichlet(1 + counts): a cutpoint is the logit of their partial sums, which are betas."""
    n = np.bincount(CUTS.numpy(), minlength=3) + 1.0
    a, b = n.cumsum()[:2], n.sum() - n.cumsum()[:2]
    mean = special.digamma(a) - special.digamma(b)
    return {"cuts": (mean, (special.polygamma(1, a) + special.polygamma(1, b)) ** 0.5)}


def induced_density(v):
    below = special.expit(v["cuts"])
    p = np.diff(below, prepend=0.0, append=1.0)
    prior = np.log(2.0) + (np.log(below) + np.log1p(-below)).sum()
    return prior + np.log(p[CUTS.numpy()]).sum()


CASES["ordinal, induced Dirichlet"] = Case(ordinal_dirichlet, (CUTS,), induced_density, induced_moments)

SPECIES = torch.tensor(rng(17).integers(0, 3, 20))
X2 = floats(rng(18).normal(size=(20, 2)) + np.eye(3)[SPECIES.numpy()][:, :2])


def softmax(x, y):
    """Multinomial logistic regression, the last class as reference: scratch space is filled in place."""
    columns = x.shape[-1]
    w = pyro.sample("w", dist.Normal(torch.zeros(columns, 2), 1.5).to_event(2))
    b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.5).to_event(1))
    scores = torch.zeros(len(x), 3)
    scores[:, :2] = x @ w + b
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Categorical(logits=scores), obs=y)


def softmax_density(v):
    scores = np.column_stack([X2.numpy() @ v["w"] + v["b"], np.zeros(20)])
    rows = special.log_softmax(scores, -1)[np.arange(20), SPECIES.numpy()].sum()
    return norm(v["w"], 0, 1.5).sum() + norm(v["b"], 0, 1.5).sum() + rows


CASES["softmax regression, scratch tensor"] = Case(softmax, (X2, SPECIES), softmax_density)

# ---------------------------------------------------------------- proportions, mixtures, missing values

BALLOTS = tensor((8, 3, 1), (6, 5, 1), (9, 2, 1))


def elections(votes):
    p = pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 1.0, 0.5])))
    with pyro.plate("districts", len(votes)):
        pyro.sample("votes", dist.Multinomial(12, p), obs=votes)


def elections_moments():
    a = BALLOTS.numpy().sum(0) + [2.0, 1.0, 0.5]
    law = stats.dirichlet(a)
    return {"p": (law.mean(), law.var() ** 0.5)}


CASES["multinomial votes"] = Case(
    elections,
    (BALLOTS,),
    lambda v: (
        stats.dirichlet.logpdf(v["p"], [2, 1, 0.5])
        + sum(stats.multinomial.logpmf(row, 12, v["p"]) for row in BALLOTS.numpy())
    ),
    elections_moments,
)

CLICKS = (tensor(1, 0, 0, 1, 0, 0, 0, 1), tensor(1, 1, 0, 1, 1))
FLAT = dist.Beta(1.0, 1.0, validate_args=True)


def ab_test(a, b):
    pa, pb = pyro.sample("pa", FLAT), pyro.sample("pb", FLAT)
    pyro.deterministic("uplift", pb - pa)
    with pyro.plate("a", len(a)):
        pyro.sample("click_a", dist.Bernoulli(pa), obs=a)
    with pyro.plate("b", len(b)):
        pyro.sample("click_b", dist.Bernoulli(pb), obs=b)


CASES["A/B test, laws of the module"] = Case(
    ab_test,
    CLICKS,
    lambda v: 3 * np.log(v["pa"]) + 5 * np.log1p(-v["pa"]) + 4 * np.log(v["pb"]) + np.log1p(-v["pb"]),
    lambda: {"pa": (4 / 10, (4 * 6 / 11) ** 0.5 / 10), "pb": (5 / 7, (5 * 2 / 8) ** 0.5 / 7)},
)

POINTS = floats(np.concatenate([rng(19).normal(-2, 0.6, 12), rng(20).normal(1.5, 0.6, 18)]))


def mixture(x):
    """Two normals, the classes summed out by MixtureSameFamily."""
    weights = pyro.sample("weights", dist.Dirichlet(2.0 * torch.ones(2)))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(torch.tensor([-2.0, 2.0]), 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        law = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(locs, scale))
        pyro.sample("obs", law, obs=x)


def mixture_density(v):
    x = POINTS.numpy()[:, None]
    rows = special.logsumexp(np.log(v["weights"]) + norm(x, v["locs"], v["scale"]), -1).sum()
    prior = stats.dirichlet.logpdf(v["weights"], [2, 2]) + norm(v["locs"], [-2, 2]).sum()
    return prior + stats.lognorm.logpdf(v["scale"], 1) + rows


CASES["mixture, classes summed out"] = Case(mixture, (POINTS,), mixture_density)


def mixture_enumerated(x):
    """The same as Pyro's tutorial on mixtures writes it: a class for each row, to be enumerated."""
    weights = pyro.sample("weights", dist.Dirichlet(2.0 * torch.ones(2)))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(torch.tensor([-2.0, 2.0]), 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        assignment = pyro.sample("assignment", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=x)


CASES["mixture, classes enumerated"] = Case(mixture_enumerated, (POINTS,), mixture_density)

WEATHER = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0])


def hidden_markov(y):
    """A hidden Markov chain with its states summed out by DiscreteHMM."""
    trans = pyro.sample("trans", dist.Dirichlet(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).to_event(1))
    emit = pyro.sample("emit", dist.Beta(torch.tensor([1.0, 4.0]), torch.tensor([4.0, 1.0])).to_event(1))
    law = dist.DiscreteHMM(torch.zeros(2), trans.log(), dist.Bernoulli(emit), duration=len(y))
    pyro.sample("y", law, obs=y.to(emit.dtype))


def hidden_markov_density(v):
    """The forward algorithm."""
    prior = sum(stats.dirichlet.logpdf(v["trans"][i], a) for i, a in enumerate([[3, 1], [1, 3]]))
    prior += stats.beta.logpdf(v["emit"], [1, 4], [4, 1]).sum()
    alpha = np.array([0.5, 0.5])
    for y in WEATHER.numpy():  # Pyro's chain makes a step before the first observation
        alpha = (alpha @ v["trans"]) * np.where(y, v["emit"], 1 - v["emit"])
    return prior + np.log(alpha.sum())


CASES["hidden Markov chain, DiscreteHMM"] = Case(hidden_markov, (WEATHER,), hidden_markov_density)

AGE = floats(rng(21).normal(30, 5, 14))
AGE[[3, 8]] = torch.nan
LIVED = floats((rng(22).random(14) < 0.5) + 0.0)


def imputation(age, lived):
    """NumPyro's tutorial on missing values: unknown ages are sites, and are written into the column."""
    mu = pyro.sample("age_mu", dist.Normal(30.0, 5.0))
    sigma = pyro.sample("age_sigma", dist.HalfNormal(5.0))
    missing = torch.isnan(age)
    count = int(missing.sum())
    imputed = pyro.sample("age_imputed", dist.Normal(mu, sigma).expand([count]).to_event(1).mask(False))
    full = age.clone()
    full[missing] = imputed
    with pyro.plate("rows", len(age)):
        pyro.sample("age", dist.Normal(mu, sigma), obs=full)
        b = pyro.deterministic("standard_age", (full - mu) / sigma)
        pyro.sample("lived", dist.Bernoulli(logits=-0.5 * b), obs=lived)


def imputation_density(v):
    full = AGE.numpy().copy()
    full[np.isnan(full)] = v["age_imputed"]
    z = -0.5 * (full - v["age_mu"]) / v["age_sigma"]
    rows = np.where(LIVED.numpy() == 1, special.log_expit(z), special.log_expit(-z)).sum()
    prior = norm(v["age_mu"], 30, 5) + halfnorm(v["age_sigma"], 0, 5)
    return prior + norm(full, v["age_mu"], v["age_sigma"]).sum() + rows


CASES["missing values, written in place"] = Case(imputation, (AGE, LIVED), imputation_density)

HOLES = Y3.clone()
HOLES[::4] = torch.nan


def outcomes_missing(x, y):
    beta = pyro.sample("beta", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.NanMaskedNormal(x @ beta, 0.5), obs=y)


def outcomes_moments():
    seen = ~torch.isnan(HOLES).numpy()
    x, y = X3.numpy()[seen], HOLES.numpy()[seen]
    cov = np.linalg.inv(np.eye(3) + x.T @ x / 0.25)
    return {"beta": (cov @ x.T @ y / 0.25, np.diag(cov) ** 0.5)}


def outcomes_density(v):
    seen = ~torch.isnan(HOLES).numpy()
    return norm(v["beta"]).sum() + norm(HOLES.numpy()[seen], X3.numpy()[seen] @ v["beta"], 0.5).sum()


CASES["outcomes missing, NanMaskedNormal"] = Case(outcomes_missing, (X3, HOLES), outcomes_density, outcomes_moments)

LIFE = tensor(0.9, 1.7, 2.3, 0.4, 3.0, 3.0, 1.1, 2.0, 3.0, 0.7)
ENDED = LIFE < 3.0


def survival(time, ended):
    """Weibull times, censored at the end of the study: deaths through the density, the others through a factor."""
    shape = pyro.sample("shape", dist.Gamma(2.0, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(1.0, 1.0))
    with pyro.plate("patients", len(time)), poutine.mask(mask=ended):
        pyro.sample("time", dist.Weibull(scale, shape), obs=time)
    pyro.factor("alive", -((time[~ended] / scale) ** shape).sum())


def survival_log_joint(shape, scale):
    total = stats.gamma.logpdf(shape, 2) + stats.lognorm.logpdf(scale, 1, scale=np.e)
    for t, dead in zip(LIFE.numpy(), ENDED.numpy(), strict=True):
        law = stats.weibull_min(shape, scale=scale)
        total = total + (law.logpdf(t) if dead else law.logsf(t))
    return total


CASES["censored survival times"] = Case(
    survival,
    (LIFE, ENDED),
    lambda v: float(survival_log_joint(v["shape"], v["scale"])),
    lambda: on_grid(survival_log_joint, shape=logs(-4, 3), scale=logs(-3, 6)),
)


def improper(y):
    """Jeffreys' prior of a normal, by improper laws and a factor."""
    mu = pyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    sigma = pyro.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    pyro.factor("jeffreys", -sigma.log())
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, sigma), obs=y)


def improper_moments():
    y, n = Y1.numpy(), 15
    t = stats.t(n - 1, y.mean(), y.std(ddof=1) / n**0.5)
    ss = ((y - y.mean()) ** 2).sum()  # sigma² is inverse-gamma((n − 1) / 2, ss / 2)
    mean = np.exp(0.5 * np.log(ss / 2) + special.gammaln((n - 2) / 2) - special.gammaln((n - 1) / 2))
    return {"mu": (t.mean(), t.std()), "sigma": (mean, (ss / (n - 3) - mean**2) ** 0.5)}


CASES["improper priors"] = Case(
    improper, (Y1,), lambda v: -np.log(v["sigma"]) + norm(Y1.numpy(), v["mu"], v["sigma"]).sum(), improper_moments
)

# ---------------------------------------------------------------- time and space

SERIES = floats(np.cumsum(rng(23).normal(size=10)) * 0.5)


def autoregression(y):
    """AR(2), one observation after the other."""
    weights = pyro.sample("linear.weight", dist.Normal(torch.zeros(1, 2), 0.5).to_event(2))
    const = pyro.sample("linear.bias", dist.Normal(torch.zeros(1), 1.0).to_event(1))
    sigma = pyro.sample("sigma", dist.LogNormal(0.0, 1.0))
    for t in pyro.markov(range(2, len(y)), history=2):
        mean = const[0] + weights[0, 0] * y[t - 1] + weights[0, 1] * y[t - 2]
        pyro.sample(f"y_{t}", dist.Normal(mean, sigma), obs=y[t])


def lagged():
    y = SERIES.numpy()
    return np.column_stack([y[1:-1], y[:-2], np.ones(len(y) - 2)]), y[2:]


def autoregression_density(v):
    design, y = lagged()
    mean = design[:, :2] @ v["linear.weight"][0] + v["linear.bias"][0]
    prior = norm(v["linear.weight"], 0, 0.5).sum() + norm(v["linear.bias"]).sum() + stats.lognorm.logpdf(v["sigma"], 1)
    return prior + norm(y, mean, v["sigma"]).sum()


CASES["autoregression, a site a step"] = Case(
    autoregression,
    (SERIES,),
    autoregression_density,
    lambda: _conjugate(
        *lagged(),
        np.zeros(3),
        np.diag([0.25, 0.25, 1.0]),
        np.exp(np.linspace(-4, 3, 1500)),
        lambda s: stats.lognorm.logpdf(s, 1),
    ),
)


def local_level(y):
    """A random walk seen through noise, its levels summed out by GaussianHMM."""
    step = pyro.sample("step", dist.HalfNormal(1.0))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    one = torch.eye(1)
    law = dist.GaussianHMM(
        dist.MultivariateNormal(torch.zeros(1), torch.eye(1)),
        one,
        dist.Normal(torch.zeros(1), step).to_event(1),
        one,
        dist.Normal(torch.zeros(1), noise).to_event(1),
        duration=len(y),
    )
    pyro.sample("y", law, obs=y[:, None])


def level_log_joint(step, noise):
    """y is normal: the variance of the first level 1, each step and the noise added."""
    n = len(SERIES)
    least = np.minimum.outer(np.arange(1, n + 1), np.arange(1, n + 1))
    step, noise = np.broadcast_arrays(step, noise)
    cov = 1.0 + (step**2)[..., None, None] * least + (noise**2)[..., None, None] * np.eye(n)
    tril = np.linalg.cholesky(cov)
    z = np.linalg.solve(tril, np.broadcast_to(SERIES.numpy()[:, None], (*cov.shape[:-1], 1)))[..., 0]
    rows = -0.5 * (z**2).sum(-1) - np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(-1) - 0.5 * n * np.log(2 * np.pi)
    return halfnorm(step) + halfnorm(noise) + rows


CASES["local level, GaussianHMM"] = Case(
    local_level,
    (SERIES,),
    lambda v: float(level_log_joint(v["step"], v["noise"])),
    lambda: on_grid(level_log_joint, step=logs(-12, 2), noise=logs(-12, 2)),
)

RETURNS = floats(rng(24).standard_t(5, 8) * np.exp(np.linspace(-1, 0.5, 8)))


def volatility(returns):
    """Stochastic volatility: a latent random walk of log volatilities, a site a step."""
    sigma = pyro.sample("sigma", dist.Exponential(5.0))
    nu = pyro.sample("nu", dist.Exponential(0.1))
    h = torch.zeros(())
    for t in range(len(returns)):
        h = pyro.sample(f"h_{t}", dist.Normal(h, sigma + 0.1))
        pyro.sample(f"r_{t}", dist.StudentT(nu, 0.0, h.exp()), obs=returns[t])


def volatility_density(v):
    h = np.array([v[f"h_{t}"] for t in range(8)])
    prior = stats.expon.logpdf(v["sigma"], scale=0.2) + stats.expon.logpdf(v["nu"], scale=10)
    walk = norm(np.diff(h, prepend=0.0), 0, v["sigma"] + 0.1).sum()
    return prior + walk + stats.t.logpdf(RETURNS.numpy(), v["nu"], 0, np.exp(h)).sum()


CASES["stochastic volatility, a site a step"] = Case(volatility, (RETURNS,), volatility_density)

CASES_PER_DAY = tensor(2, 3, 7, 9, 17, 18, 25, 19)


def epidemic(new):
    """SIR in discrete time: each day's mean is written into a scratch tensor."""
    beta = pyro.sample("beta", dist.LogNormal(0.0, 0.5))
    gamma = pyro.sample("gamma", dist.Beta(2.0, 3.0))
    days, people = len(new), 200.0
    s, i, mean = people - 2.0, 2.0, torch.zeros(days)
    for t in range(days):
        infected = s * (1 - torch.exp(-beta * i / people))
        s, i = s - infected, i + infected - gamma * i
        mean[t] = infected
    with pyro.plate("days", days):
        pyro.sample("new", dist.Poisson(mean), obs=new)


def epidemic_log_joint(beta, gamma):
    total = stats.lognorm.logpdf(beta, 0.5) + stats.beta.logpdf(gamma, 2, 3)
    s, i = 198.0, 2.0
    for y in CASES_PER_DAY.numpy():
        new = s * (1 - np.exp(-beta * i / 200))
        s, i = s - new, i + new - gamma * i
        total = total + stats.poisson.logpmf(y, new)
    return total


CASES["epidemic, means written in place"] = Case(
    epidemic,
    (CASES_PER_DAY,),
    lambda v: float(epidemic_log_joint(v["beta"], v["gamma"])),
    lambda: on_grid(epidemic_log_joint, beta=logs(-2, 1.5, 400), gamma=logits(-9, 7, 400)),
)

WHERE = floats(np.linspace(0, 3, 10))
FIELD = floats(np.sin(2 * WHERE.numpy()) + 0.2 * rng(25).normal(size=10))


def rbf(x, z, variance, length, noise):
    k = variance * torch.exp(-0.5 * ((x[:, None] - z) / length) ** 2)
    return k + (noise + 1e-6) * torch.eye(x.shape[0])


def gaussian_process(x, y):
    """NumPyro's Gaussian process: the kernel by hand."""
    variance = pyro.sample("kernel_var", dist.LogNormal(0.0, 1.0))
    noise = pyro.sample("kernel_noise", dist.LogNormal(-2.0, 1.0))
    length = pyro.sample("kernel_length", dist.LogNormal(0.0, 1.0))
    k = rbf(x, x, variance, length, noise)
    pyro.sample("Y", dist.MultivariateNormal(torch.zeros(x.shape[0]), covariance_matrix=k), obs=y)


def process_log_joint(kernel_var, kernel_noise, kernel_length):
    x, y, n = WHERE.numpy(), FIELD.numpy(), 10
    variance, noise, length = (a[..., None, None] for a in np.broadcast_arrays(kernel_var, kernel_noise, kernel_length))
    k = variance * np.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + (noise + 1e-6) * np.eye(n)
    tril = np.linalg.cholesky(k)
    z = np.linalg.solve(tril, np.broadcast_to(y[:, None], (*k.shape[:-1], 1)))[..., 0]
    rows = -0.5 * (z**2).sum(-1) - np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(-1) - 0.5 * n * np.log(2 * np.pi)
    prior = stats.lognorm.logpdf(kernel_var, 1) + stats.lognorm.logpdf(kernel_length, 1)
    return prior + stats.lognorm.logpdf(kernel_noise, 1, scale=np.exp(-2)) + rows


CASES["Gaussian process"] = Case(
    gaussian_process,
    (WHERE, FIELD),
    lambda v: float(process_log_joint(v["kernel_var"], v["kernel_noise"], v["kernel_length"])),
    lambda: on_grid(
        process_log_joint, kernel_var=logs(-4.5, 5, 50), kernel_noise=logs(-7, 1.5, 50), kernel_length=logs(-4, 3.5, 70)
    ),
)

DISASTERS = tensor(4, 5, 4, 1, 0, 4, 3, 4, 0, 6, 3, 3, 1, 2, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1)


def changepoint(y):
    """Coal-mining disasters: the year of the change is summed out in a factor."""
    early = pyro.sample("early", dist.Exponential(0.5))
    late = pyro.sample("late", dist.Exponential(0.5))
    before = dist.Poisson(early).log_prob(y).cumsum(0)
    after = dist.Poisson(late).log_prob(y).flip(0).cumsum(0).flip(0)
    pyro.factor("change", torch.logsumexp(before[:-1] + after[1:], 0) - torch.log(torch.tensor(len(y) - 1.0)))


def changepoint_log_joint(early, late):
    y = DISASTERS.numpy()
    prior = stats.expon.logpdf(early, scale=2) + stats.expon.logpdf(late, scale=2)
    paths = []
    for t in range(1, len(y)):
        log_rate = y[:t].sum() * np.log(early) + y[t:].sum() * np.log(late)
        paths.append(log_rate - t * early - (len(y) - t) * late - special.gammaln(y + 1).sum())
    return prior + special.logsumexp(np.stack(np.broadcast_arrays(*paths)), 0) - np.log(len(y) - 1)


CASES["change point, summed out"] = Case(
    changepoint,
    (DISASTERS,),
    lambda v: float(changepoint_log_joint(v["early"], v["late"])),
    lambda: on_grid(changepoint_log_joint, early=logs(-9, 4, 300), late=logs(-9, 4, 300)),
)
