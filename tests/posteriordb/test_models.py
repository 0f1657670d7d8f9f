"""The ten models against scipy and against the reference itself, and their fitness for vmap and make_fx."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from scipy import stats
from torch.distributions import biject_to
from torch.fx.experimental.proxy_tensor import make_fx

from .models import POSTERIORS
from .reference import check, load, table

each = pytest.mark.parametrize("name", sorted(POSTERIORS))


class Support(Messenger):
    """Gives every latent site a value inside its support, drawn on the real line."""

    def _pyro_sample(self, msg):
        if msg["value"] is None and not site_is_subsample(msg):
            noise = torch.randn(msg["fn"].shape(), dtype=torch.float64)
            msg["value"] = biject_to(msg["fn"].support)(noise)
            msg["done"] = True


def latent_sites(trace):
    nodes = {name: trace.nodes[name] for name in trace.stochastic_nodes}
    return {name: node["value"] for name, node in nodes.items() if not site_is_subsample(node)}


def log_joint(model, data, sites):
    return poutine.trace(poutine.condition(model, data=sites)).get_trace(*data).log_prob_sum()


def stack(values, name):
    return np.array([values[f"{name}[{i}]"] for i in range(1, 1 + sum(p.startswith(f"{name}[") for p in values))])


def sites_at(values):
    """Site values at the parameters of a reference: the inverse of ``Posterior.parameters``."""
    sites = {p: v for p, v in values.items() if "[" not in p}
    if "theta[1]" in values:
        sites["theta_trans"] = (stack(values, "theta") - values["mu"]) / values["tau"]
    if "beta[1]" in values:
        sites["beta"] = stack(values, "beta")
    return {site: torch.as_tensor(v, dtype=torch.float64) for site, v in sites.items()}


def means(reference):
    return {parameter: ref["mean"] for parameter, ref in reference.items()}


# The log densities once more, by scipy, row by row where the models have matrices.


def arrays(data):
    return {k: np.array(v, dtype=float) for k, v in data.items()}


def normal(y, mean, sd):
    return stats.norm.logpdf(y, mean, sd).sum()


def scipy_arK(d, v):
    b, order = stack(v, "beta"), int(d["K"])
    lp = normal(v["alpha"], 0, 10) + normal(b, 0, 10) + stats.halfcauchy.logpdf(v["sigma"], scale=2.5)
    for t in range(order, int(d["T"])):
        mean = v["alpha"] + sum(b[k - 1] * d["y"][t - k] for k in range(1, order + 1))
        lp += normal(d["y"][t], mean, v["sigma"])
    return lp


def scipy_logearn_interaction(d, v):
    b1, b2, b3, b4 = stack(v, "beta")
    return normal(np.log(d["earn"]), b1 + b2 * d["height"] + b3 * d["male"] + b4 * d["height"] * d["male"], v["sigma"])


def scipy_eight_schools(d, v):
    theta = stack(v, "theta")
    lp = normal(v["mu"], 0, 5) + stats.halfcauchy.logpdf(v["tau"], scale=5) + normal(d["y"], theta, d["sigma"])
    # the density of z, not of theta: without the Jacobian tau^-8 of theta given tau
    return lp + normal(theta, v["mu"], v["tau"]) + 8 * math.log(v["tau"])


def scipy_gp_regr(d, v):
    n = len(d["x"])
    cov = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            cov[i, j] = v["alpha"] ** 2 * math.exp(-((d["x"][i] - d["x"][j]) ** 2) / (2 * v["rho"] ** 2))
        cov[i, i] += v["sigma"]
    lp = stats.gamma.logpdf(v["rho"], 25, scale=1 / 4)
    lp += stats.halfnorm.logpdf(v["alpha"], scale=2) + stats.halfnorm.logpdf(v["sigma"], scale=1)
    return lp + stats.multivariate_normal.logpdf(d["y"], np.zeros(n), cov)


def scipy_kidscore_momhs(d, v):
    b1, b2 = stack(v, "beta")
    return normal(d["kid_score"], b1 + b2 * d["mom_hs"], v["sigma"]) + stats.halfcauchy.logpdf(v["sigma"], scale=2.5)


def scipy_kidscore_interaction_c(d, v):
    b1, b2, b3, b4 = stack(v, "beta")
    hs = d["mom_hs"] - np.mean(d["mom_hs"])
    iq = d["mom_iq"] - np.mean(d["mom_iq"])
    return normal(d["kid_score"], b1 + b2 * hs + b3 * iq + b4 * hs * iq, v["sigma"])


def scipy_kilpisjarvi(d, v):
    lp = normal(v["alpha"], d["pmualpha"], d["psalpha"]) + normal(v["beta"], d["pmubeta"], d["psbeta"])
    return lp + normal(d["y"], v["alpha"] + v["beta"] * d["x"], v["sigma"])


def scipy_logmesquite_logvolume(d, v):
    b1, b2 = stack(v, "beta")
    log_volume = np.log(d["diam1"]) + np.log(d["diam2"]) + np.log(d["canopy_height"])
    return normal(np.log(d["weight"]), b1 + b2 * log_volume, v["sigma"])


def scipy_nes(d, v):
    b = stack(v, "beta")
    age = np.array([{1: 0.0, 2: b[3], 3: b[4], 4: b[5]}[a] for a in d["age_discrete"]])
    mean = b[0] + b[1] * d["real_ideo"] + b[2] * d["race_adj"] + age
    return normal(d["partyid7"], mean + b[6] * d["educ1"] + b[7] * d["gender"] + b[8] * d["income"], v["sigma"])


def scipy_blr(d, v):
    b = stack(v, "beta")
    lp = normal(b, 0, 10) + stats.halfnorm.logpdf(v["sigma"], scale=10)
    return lp + sum(normal(y, np.dot(x, b), v["sigma"]) for x, y in zip(d["X"], d["y"], strict=True))


SCIPY = {
    "arK-arK": scipy_arK,
    "earnings-logearn_interaction": scipy_logearn_interaction,
    "eight_schools-eight_schools_noncentered": scipy_eight_schools,
    "gp_pois_regr-gp_regr": scipy_gp_regr,
    "kidiq-kidscore_momhs": scipy_kidscore_momhs,
    "kidiq_with_mom_work-kidscore_interaction_c": scipy_kidscore_interaction_c,
    "kilpisjarvi_mod-kilpisjarvi": scipy_kilpisjarvi,
    "mesquite-logmesquite_logvolume": scipy_logmesquite_logvolume,
    "nes1980-nes": scipy_nes,
    "sblrc-blr": scipy_blr,
}


def test_every_file_has_a_model(real_data):
    assert {path.stem for path in (real_data / "posteriordb").glob("*.json")} == set(POSTERIORS) == set(SCIPY)


@each
def test_parameters_are_those_of_the_reference(name, real_data):
    posterior, (data, reference) = POSTERIORS[name], load(real_data, name)
    torch.manual_seed(0)
    with Support():
        sites = latent_sites(poutine.trace(posterior.model).get_trace(*posterior.data(data, torch.float64)))
    draws = {site: value.expand(2, 5, *value.shape) for site, value in sites.items()}
    parameters = posterior.parameters(draws)
    assert set(parameters) == set(reference)
    assert {value.shape for value in parameters.values()} == {(2, 5)}

    at_mean = sites_at(means(reference))
    assert {site: value.shape for site, value in at_mean.items()} == {s: v.shape for s, v in sites.items()}
    for parameter, value in posterior.parameters(at_mean).items():
        assert float(value) == pytest.approx(reference[parameter]["mean"], rel=1e-12)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_come_in_the_dtype_asked_for(name, dtype, real_data):
    posterior, (data, reference) = POSTERIORS[name], load(real_data, name)
    args = posterior.data(data, dtype)
    assert {arg.dtype for arg in args} == {dtype}
    sites = {site: value.to(dtype) for site, value in sites_at(means(reference)).items()}
    found = log_joint(posterior.model, args, sites)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(SCIPY[name](arrays(data), means(reference)), rel=1e-3)


@each
def test_log_density_is_scipys(name, real_data):
    posterior, (data, reference) = POSTERIORS[name], load(real_data, name)
    args = posterior.data(data, torch.float64)
    for shift in (0.0, 0.7, -0.3):
        values = {parameter: ref["mean"] + shift * ref["sd"] for parameter, ref in reference.items()}
        found = float(log_joint(posterior.model, args, sites_at(values)))
        assert found == pytest.approx(SCIPY[name](arrays(data), values), rel=1e-10, abs=0)


@each
def test_vmap_and_make_fx_agree_with_the_loop(name, real_data):
    posterior, (data, reference) = POSTERIORS[name], load(real_data, name)
    args = posterior.data(data, torch.float64)
    points = [
        sites_at({parameter: ref["mean"] + shift * ref["sd"] for parameter, ref in reference.items()})
        for shift in (-0.2, 0.0, 0.5)
    ]
    batch = {site: torch.stack([point[site] for point in points]) for site in points[0]}

    def density(sites):
        return log_joint(posterior.model, args, sites)

    batched = torch.func.vmap(torch.func.grad_and_value(density))
    with pyro.validation_enabled(False):
        looped = [torch.func.grad_and_value(density)(point) for point in points]
        found = [batched(batch), make_fx(batched)(batch)(batch)]
    for gradient, value in found:
        torch.testing.assert_close(value, torch.stack([v for _, v in looped]), rtol=1e-10, atol=0)
        for site, g in gradient.items():
            torch.testing.assert_close(g, torch.stack([one[site] for one, _ in looped]), rtol=1e-8, atol=1e-8)


@each
def test_reference_mean_is_likelier_than_three_sd_away(name, real_data):
    posterior, (data, reference) = POSTERIORS[name], load(real_data, name)
    args, positive = posterior.data(data, torch.float64), {"sigma", "tau", "rho"}
    if name.startswith("gp"):
        positive |= {"alpha"}
    best = log_joint(posterior.model, args, sites_at(means(reference)))
    for parameter, ref in reference.items():
        for shift in (-3, 3):
            shifted = ref["mean"] + shift * ref["sd"]
            if parameter in positive and shifted <= 0:
                continue
            sites = sites_at(means(reference) | {parameter: shifted})
            assert log_joint(posterior.model, args, sites) < best, f"{parameter} {shift:+d} sd"


def test_rule_passes_good_draws_and_fails_bad_ones():
    reference = {"a": {"mean": 2.0, "sd": 3.0}, "b[1]": {"mean": -1.0, "sd": 0.1}}
    noise = np.random.default_rng(0).standard_normal((4, 2000))
    good = {"a": 2 + 3 * noise, "b[1]": -1 + 0.1 * noise[:, ::-1]}
    rows = check(good, reference)
    assert [row["parameter"] for row in rows] == ["a", "b[1]"] and all(row["passed"] for row in rows)
    # 4 * sqrt(sd^2 / (4 * 2000) + sd^2 / 9500), up to the estimate of the effective sample size
    assert rows[0]["tolerance"] == pytest.approx(4 * 3 * math.sqrt(1 / 8000 + 1 / 9500), rel=0.1)
    assert "FAIL" not in table(rows)

    stuck = noise + np.array([0.5, 0.0, 0.0, -0.5])[:, None]
    broken = np.where(np.arange(2000) == 7, np.nan, noise)
    for bad in (noise + 0.1, 1.2 * noise, stuck, broken, np.zeros_like(noise)):
        first, second = check(good | {"a": 2 + 3 * bad}, reference)
        assert not first["passed"] and second["passed"]
        assert table([first, second]).count("FAIL") == 1
    with pytest.raises(ValueError, match="missing"):
        check({"a": noise}, reference)
