"""Published models: the facts that papers state, the density by their formulas, and a short run of each."""

import inspect
import re
from itertools import pairwise
from pathlib import Path

import fbm
import numpy as np
import pytest
import scipy.stats as st
import torch
from zoo_formulas import FORMULAS, forward, gaussian, normals, relu, silu, softmax

import bnn_zoo as bz
from bnn_zoo import comparison
from bnn_zoo.catalogue import of
from bnn_zoo.data import table

PUBLISHED = of("published")
DOCS = Path(__file__).parents[1] / "docs"
NETWORKS = {n: e for n, e in PUBLISHED.items() if e.facts["x"]}
QUICK = {"neal_regression", "neal_classes", "blundell_mnist", "chen_mnist", "sommer_regression", "hernandez_lobato_uci"}
"""Densities of the default run, one of each kind; the others are slow."""


def rows(name, count=7, dtype=torch.float64):
    """Rows that fit the model, and labels of its law."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, y = PUBLISHED[name].make(PUBLISHED[name].facts["rows"], torch=torch)
    return tuple(t[:count].to(dtype) if t.is_floating_point() else t[:count] for t in (x, y))


@pytest.mark.parametrize("name", NETWORKS)
def test_number_of_weights_is_that_of_the_paper(name):
    """The count, and of fully connected networks the sizes and the activation, as the row states them."""
    net, facts = NETWORKS[name].constructor().net, NETWORKS[name].facts
    assert sum(p.numel() for p in net.parameters()) == facts["weights"]
    if not facts["architecture"][0].isdigit() and not facts["architecture"].startswith("d-"):
        return
    sizes, activation = facts["architecture"].split()[:2]
    sizes = [facts["x"][0] if size == "d" else int(size) for size in sizes.split("-")]
    assert [(p.shape[1], p.shape[0]) for n, p in net.named_parameters() if p.dim() == 2] == list(pairwise(sizes))
    kinds = {"tanh": torch.nn.Tanh, "ReLU": torch.nn.ReLU, "SiLU": torch.nn.SiLU, "sigmoid": torch.nn.Sigmoid}
    found = [m for m in net.modules() if isinstance(m, tuple(kinds.values()))]
    assert len(found) == len(sizes) - 2 and {type(m) for m in found} == {kinds[activation.rstrip(",")]}


# ---------------------------------------------------------------------- densities by the papers' formulas, in numpy


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_density(name):
    """A density never changes under a name: prior and likelihood at two points, from the paper's formula alone."""
    model, (x, y) = NETWORKS[name].make(), rows(name)
    joint = bz.LogJoint(model, (x, y), dtype=torch.float64)
    u = 0.4 * torch.randn(2, joint.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, jacobian = joint(u)[0], joint.log_jacobian(u)
    for k in range(2):
        sites = {n: s[k].numpy() for n, s in joint.constrain(u).items()}
        expected = float(FORMULAS[name](sites, x.numpy(), y.numpy())) + float(jacobian[k])
        assert float(value[k]) == pytest.approx(expected, rel=1e-9)


def test_neals_regression_is_the_one_of_the_benchmarks():
    """The same law as a Pyro model written by hand on precisions, up to the Jacobian of s = τ^(−½) for each of four."""
    x, y = rows("neal_regression")
    ours, theirs = bz.LogJoint(bz.zoo.neal_regression(), (x, y)), bz.LogJoint(fbm.regression, (x, y))
    u = 0.4 * torch.randn(1, ours.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s = {n: v[0] for n, v in ours.constrain(u).items()}
    scales = [s["0.weight_scale"], s["noise"], s["0.bias_scale"], s["2.weight_scale"]]
    tau = dict(
        zip(("in_precision", "noise_precision", "bias_precision", "out_precision"), (v**-2 for v in scales), strict=True)
    )
    weights = {"w": s["0.weight"].T, "b": s["0.bias"], "v": s["2.weight"].T, "c": s["2.bias"]}
    v = theirs.unconstrain({n: t[None] for n, t in (tau | weights).items()})
    change = sum(float((2.0 * scale**-3).log()) for scale in scales)
    mine = float(ours(u)[0] - ours.log_jacobian(u))
    assert mine == pytest.approx(float(theirs(v)[0] - theirs.log_jacobian(v)) + change, rel=1e-10)


def test_layers_of_sharma_that_are_not_random():
    """With the output layer alone: 51 weights N(0, 5251/51), the others as trained."""
    whole, (x, y) = bz.zoo.sharma_regression(), rows("sharma_regression")
    trained = {n: p.detach().double() for n, p in whole.net.named_parameters()}
    part = bz.zoo.sharma_regression((False, False, False, True), trained)
    joint = bz.LogJoint(part, (x, y))
    u = 0.4 * torch.randn(1, joint.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    last = {n: s[0].numpy() for n, s in joint.constrain(u).items()}
    assert set(last) == {"9.weight", "9.bias"}
    kept = {n: p.detach().double().numpy() for n, p in part.net.named_parameters()}
    f = forward(kept | last, x.numpy(), silu, 50**-0.5)
    expected = normals(last, (5251 / 51) ** 0.5) + gaussian(f, y.numpy(), 0.05)
    assert float(joint(u)[0]) == pytest.approx(expected, rel=1e-9)
    for stochastic, values, message in (
        ((False,) * 4, trained, "not all False"),
        ((True, False, True, True), None, r"'3.weight' is not random, so it needs a value of shape \(50, 50\), got None"),
        ((True, False, True, True), {"3.weight": torch.ones(1, 1, 50, 50)}, r"got \(1, 1, 50, 50\): give trained"),
    ):
        with pytest.raises(ValueError, match=message):
            bz.zoo.sharma_regression(stochastic, values)


@pytest.mark.slow
def test_other_laws_and_scales_of_a_paper():
    """What a constructor takes besides its defaults: Laplace weights, a horseshoe for fully connected layers, fewer rows."""
    model, (x, y) = bz.zoo.fortuin_mlp(bz.priors.Laplace, width=3), rows("fortuin_mlp")
    joint = bz.LogJoint(model, (x, y))
    u = 0.4 * torch.randn(1, joint.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sites = {n: s[0].numpy() for n, s in joint.constrain(u).items()}
    prior = sum(
        (st.norm(0, 1) if n.endswith("bias") else st.laplace(0, (2 / v.shape[1]) ** 0.5)).logpdf(v).sum()
        for n, v in sites.items()
    )
    expected = prior + softmax(forward(sites, x.numpy(), relu), y.numpy())
    assert float(joint(u)[0]) == pytest.approx(expected, rel=1e-9)
    horseshoe = bz.zoo.louizos_lenet300100(bz.priors.HalfCauchy(bz.priors.HalfCauchy(1e-5)))
    names = {site.name for site in bz.LogJoint(horseshoe, rows("louizos_lenet300100")).sites}
    assert {"1.weight_scale", "1.weight_scale_scale"} <= names and "1.bias_scale" not in names
    assert bz.zoo.gal_lenet(rows=15_000).prior.scale == pytest.approx(2 * bz.zoo.gal_lenet().prior.scale)


def test_welling_and_tehs_mixture():
    y = torch.tensor([0.3, -1.0, 2.5, 1.0], dtype=torch.float64)
    joint = bz.LogJoint(bz.zoo.welling_teh_mixture(), (y,))
    for a, b in ((0.0, 1.0), (1.0, -1.0), (-0.4, 2.0)):
        parts = 0.5 * st.norm(a, 2**0.5).pdf(y) + 0.5 * st.norm(a + b, 2**0.5).pdf(y)
        expected = st.norm(0, 10**0.5).logpdf(a) + st.norm(0, 1).logpdf(b) + np.log(parts).sum()
        assert float(joint(torch.tensor([[a, b]], dtype=torch.float64))[0]) == pytest.approx(float(expected), rel=1e-10)


# ---------------------------------------------------------------------- runs


@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
@pytest.mark.parametrize(
    "backend",
    [bz.HMC(chains=2, warmup=5, draws=5, max_leapfrogs=3), pytest.param(bz.MAP(chains=2, steps=10), marks=pytest.mark.slow)],
    ids=["HMC", "MAP"],
)
@pytest.mark.parametrize(
    "name",
    [
        n if n in {"neal_classes", "welling_teh_mixture", "sommer_regression"} else pytest.param(n, marks=pytest.mark.slow)
        for n in PUBLISHED
    ],
)
def test_ten_steps_and_export(name, backend):
    """Two backends: HMC and MAP; under an improper prior they refuse, and mean field runs, on all rows and on batches."""
    if name not in NETWORKS:
        data = (torch.randn(20, generator=torch.Generator().manual_seed(0)),)
    else:
        data = rows(name, 12, torch.float32)
    model = PUBLISHED[name].make()
    if "log-uniform" in PUBLISHED[name].facts["prior"]:
        with pytest.raises(bz.types.ModelError, match="its mass near 0 is infinite"):
            bz.fit(model, data, backend, progress=False)
        backend = bz.MeanField(
            steps=10, draws=5, init=bz.density.from_support, batch_size=None if isinstance(backend, bz.HMC) else 6
        )
        model = bz.handlers.NonCentred(model, "*.weight") if name.startswith("louizos") else model
    posterior = bz.fit(model, data, backend, progress=False)
    assert all(torch.isfinite(v).all() for v in posterior.draws.sites.values())
    groups = bz.export.groups(posterior.to_inference_data())
    assert {"posterior", "log_likelihood", "observed_data"} <= set(groups)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_neals_regression_on_his_data(real_data: Path):
    """Within the first mode his program gives a test log density of .854 ± .019 and 1.39 at 0."""
    train, (x, y) = fbm.load(real_data, fbm.CASES["fbm-regression"])
    posterior = bz.fit(bz.zoo.neal_regression(), train, bz.MCLMC(), progress=False)
    assert float(posterior.predict(x).log_prob(y).mean()) > 0.82
    assert abs(float(posterior.predict(torch.zeros(1, 1)).mean) - 1.38) < 0.02


def example(name):
    text = (DOCS / "zoo" / f"{name}.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return code


@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
@pytest.mark.parametrize("name", [n if n == "tran_uci" else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED])
def test_the_code_of_a_card_runs(name, capsys):
    space = {}
    exec(compile(example(name), f"card of {name}", "exec"), space)
    assert all(torch.isfinite(v).all() for v in space["posterior"].draws.sites.values())
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_says_what_it_has_to(name):
    card = PUBLISHED[name].card
    assert card.facts and card.traps and str(PUBLISHED[name].year) in card.citation
    assert bool(card.command) == any(f.ours for f in card.figures), "ours without what measures it"
    if card.command:
        assert (DOCS.parent / card.command.split()[1]).exists()


# ---------------------------------------------------------------------- in the compare run


TABLES = ["sommer_regression", "hernandez_lobato_uci", "gal_uci", "tran_uci", "li_surrogate"]


@pytest.mark.parametrize("name", TABLES[:1] + [pytest.param(n, marks=pytest.mark.slow) for n in TABLES[1:]])
def test_a_published_network_takes_the_inputs_of_the_data(name):
    made = comparison.published(name, table("diabetes"))
    assert made.net[0].in_features == 10


def test_tables_are_those_that_take_a_number_of_inputs():
    assert set(TABLES) == {n for n, e in PUBLISHED.items() if "inputs" in inspect.signature(e.constructor).parameters}


def test_labels_of_another_law_are_refused_before_a_run(tmp_path):
    """Two inputs as the network wants them, and a real target that is no class."""
    rng = np.random.default_rng(0)
    lines = "\n".join(f"{a},{b},{a - b}" for a, b in rng.normal(size=(40, 2)))
    (tmp_path / "mine.csv").write_text("a,b,price\n" + lines)
    with pytest.raises(ValueError, match=r"neal_binary .* does not fit .*\(2 inputs, a real target\): .*support"):
        comparison.published("neal_binary", table(str(tmp_path / "mine.csv"), target="price"))


BAD = {
    "widths": (
        "neal_regression",
        ValueError,
        r"neal_regression \(1-8-1 tanh, Gaussian.*does not fit diabetes \(10 inputs, a real",
    ),
    "no network": ("welling_teh_mixture", ValueError, "is no network, and has no inputs"),
    "no model": ("NUTS", ValueError, "NUTS is no published model: choose from neal_regression"),
    "no name": ("somer_regression", KeyError, "did you mean sommer_regression"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_refused(what):
    name, kind, message = BAD[what]
    with pytest.raises(kind, match=message):
        comparison.published(name, table("diabetes"))
