"""The code of docs/extend.md runs as it stands, and does what the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as st
import torch

import bnn_zoo as bz
from bnn_zoo.catalogue import KINDS, Entry, of

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()
BODIES = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
SECTIONS = {title: re.findall(r"```python\n(.*?)```", body, re.S) for title, body in BODIES}
WITH_CODE = [title for title, blocks in SECTIONS.items() if blocks]
LONG = {"A sampler", "A backend of one's own"}
QUICK = {"A likelihood", "A published model"}


def run(title):
    space: dict = {"__name__": "extend"}
    for block in SECTIONS[title]:
        exec(compile(block, f"docs/extend.md: {title}", "exec"), space)
    return space


@pytest.mark.parametrize(
    "title", [t if t in QUICK else pytest.param(t, marks=pytest.mark.slow) for t in WITH_CODE if t not in LONG]
)
def test_code_runs(title):
    space = run(title)
    row = space["row"]
    assert isinstance(row, Entry) and row.kind in KINDS and row.name in space
    assert row.facts.keys() == next(iter(of(row.kind).values())).facts.keys(), "a row of another form than those there are"
    if "log_joint" in space:
        value, gradient = space["log_joint"](0.1 * torch.ones(2, space["log_joint"].dim))
        assert value.isfinite().all() and gradient.isfinite().all()


def test_the_prior_is_that_of_scipy():
    law = run("A prior")["Logistic"](0.5)("0.weight", torch.Size([2, 3]))
    w = torch.linspace(-2, 2, 6, dtype=torch.float64).view(2, 3)
    assert float(law.log_prob(w)) == pytest.approx(st.logistic(0, 0.5).logpdf(w.numpy()).sum(), rel=1e-6)


@pytest.mark.slow
def test_the_effect_halves_the_likelihood():
    space = run("An effect on a model")
    whole, half = space["log_joint"], space["half"]
    q = 0.1 * torch.ones(1, whole.dim)
    prior = st.norm(0, 1).logpdf(q.numpy()).sum()
    likelihood = float(whole(q)[0]) - prior
    assert float(half(q)[0]) == pytest.approx(prior + 0.5 * likelihood, rel=1e-5)


def test_the_published_model_has_the_weights_of_its_row():
    space = run("A published model")
    assert sum(p.numel() for p in space["mackay_regression"]().net.parameters()) == space["row"].facts["weights"]
    assert set(space["CARDS"]) == {"mackay_regression"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("title", sorted(LONG))
def test_samplers_have_the_posterior(title):
    """A line with known noise: mean and covariance in closed form."""
    posterior = run(title)["posterior"]
    x = np.linspace(-1, 1, 20)
    design = np.stack([x, np.ones_like(x)], 1)
    covariance = np.linalg.inv(design.T @ design / 0.25 + np.eye(2))
    mean = covariance @ design.T @ (2 * x) / 0.25
    sites = posterior.draws.sites
    for site, i in (("0.weight", 0), ("0.bias", 1)):
        draws = sites[site].flatten(2)[..., 0]
        error = float(draws.std()) / float(bz.diagnostics.ess_mean(draws)) ** 0.5
        assert abs(float(draws.mean()) - mean[i]) < 4 * error + 1e-3
        assert float(draws.std()) == pytest.approx(covariance[i, i] ** 0.5, rel=0.15)


def test_every_kind_that_users_add_has_a_section():
    titles = " ".join(SECTIONS).lower()
    for noun in ("network", "prior", "scale", "likelihood", "backend", "sampler", "published model", "effect"):
        assert noun in titles
