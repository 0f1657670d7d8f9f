"""Scales given as laws, tensors and rules: the right log joint in the dtype of the data, or a refusal before work starts."""

import math
from itertools import pairwise

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import bnn_zoo as bz
from bnn_zoo import likelihoods, priors
from bnn_zoo._scope import factory
from bnn_zoo.density import LogJoint

X = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).reshape(4, 2)
Y = torch.tensor([0.3, -0.2, 0.7, 0.1], dtype=torch.float64)
LAWS = {  # law made in float32, outside the model; the same in SciPy. All numbers are exact in float32.
    "HalfNormal": (lambda: dist.HalfNormal(0.25), stats.halfnorm(0, 0.25)),
    "HalfCauchy": (lambda: dist.HalfCauchy(0.25), stats.halfcauchy(0, 0.25)),
    "Gamma": (lambda: dist.Gamma(2.0, 0.5), stats.gamma(2.0, scale=2.0)),
    "InverseGamma": (lambda: dist.InverseGamma(1.5, 0.5), stats.invgamma(1.5, scale=0.5)),
    "LogNormal": (lambda: dist.LogNormal(0.25, 0.75), stats.lognorm(0.75, scale=math.exp(0.25))),
    "Weibull": (lambda: dist.Weibull(0.75, 1.5), stats.weibull_min(1.5, scale=0.75)),
    "folded t": (lambda: dist.FoldedDistribution(dist.StudentT(4.0, 0.0, 0.5)), stats.foldnorm),  # its own formula below
    "torch's": (lambda: torch.distributions.HalfCauchy(0.25), stats.halfcauchy(0, 0.25)),
    "prior": (lambda: priors.HalfCauchy(0.3), stats.halfcauchy(0, 0.3)),
}


def logpdf(name, value):
    if name == "folded t":
        return math.log(2.0) + stats.t(4.0, 0, 0.5).logpdf(value)
    return LAWS[name][1].logpdf(value)


def network():
    return torch.nn.Linear(2, 1, bias=False)


def of_noise(name):
    """w ~ N(0, 1), noise ~ the law."""
    return bz.BNN(network(), priors.Normal(1.0), likelihoods.Gaussian(LAWS[name][0]()))


def of_weights(name):
    """scale ~ the law, w ~ N(0, scale)."""
    return bz.BNN(network(), priors.Normal(LAWS[name][0]()), likelihoods.Gaussian(0.5))


def closed_form(name, which, position, sites):
    """Log joint in NumPy: log densities, and for the scale s = exp(u) the log-Jacobian u."""
    parts = dict(zip([s.name for s in sites], np.split(position, np.cumsum([s.size for s in sites])[:-1]), strict=True))
    u = parts["noise" if which is of_noise else "weight_scale"].item()
    w, scale = parts["weight"], math.exp(u)
    noise, spread = (scale, 1.0) if which is of_noise else (0.5, scale)
    fit = stats.norm(X.numpy() @ w, noise).logpdf(Y.numpy()).sum()
    return fit + stats.norm(0, spread).logpdf(w).sum() + logpdf(name, scale) + u


@pytest.mark.parametrize("name, which", [(n, of_noise) for n in LAWS] + [(n, of_weights) for n in ("HalfCauchy", "Gamma")])
def test_log_joint_in_float64(name, which):
    """A law made in float32 takes part in float64, in full: for one chain and for several."""
    log_joint = LogJoint(which(name), (X, Y))
    for chains in (1, 3):
        position = torch.linspace(-0.6, 0.8, 3 * chains, dtype=torch.float64).reshape(chains, 3)
        value, gradient = log_joint(position)
        assert value.dtype == gradient.dtype == torch.float64
        expected = [closed_form(name, which, p, log_joint.sites) for p in position.numpy()]
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["HalfNormal", "HalfCauchy"])
def test_log_joint_in_float32(name):
    """One dtype throughout, also where the law was made in float64."""
    with factory(torch.device("cpu"), torch.float64):
        model = of_noise(name)
    log_joint = LogJoint(model, (X.float(), Y.float()))
    value, _ = log_joint(torch.full((2, 3), 0.2))
    expected = closed_form(name, of_noise, np.full(3, 0.2), log_joint.sites)
    assert value.dtype == torch.float32 and value.tolist() == pytest.approx([expected] * 2, rel=2e-6)


def test_draws_of_the_model_have_the_dtype_of_the_data():
    trace = pyro.poutine.trace(bz.BNN(network(), priors.Normal(dist.HalfCauchy(1.0)), likelihoods.Gaussian())).get_trace(X)
    values = {name: node["value"] for name, node in trace.nodes.items() if name in ("weight_scale", "weight", "noise", "y")}
    assert len(values) == 4 and all(v.dtype == torch.float64 for v in values.values())


def test_a_prior_that_holds_tensors():
    """A function as prior may carry tensors made elsewhere: here a float32 centre of each weight."""
    centre = torch.tensor([[0.25, -0.5]])

    def prior(name, shape):
        return dist.Normal(centre, 0.75).to_event(2)

    log_joint = LogJoint(bz.BNN(network(), prior, likelihoods.Gaussian(0.5)), (X, Y))
    w = np.array([0.4, -0.3])
    expected = stats.norm([0.25, -0.5], 0.75).logpdf(w).sum() + stats.norm(X.numpy() @ w, 0.5).logpdf(Y.numpy()).sum()
    np.testing.assert_allclose(log_joint(torch.tensor(w)[None])[0].item(), expected, rtol=1e-12)


# ---------------------------------------------------------------------- tensors

OF_SCALE = {
    priors.Normal: lambda s: stats.norm(0, s),
    priors.Laplace: lambda s: stats.laplace(0, s),
    priors.StudentT: lambda s: stats.t(3, 0, s),
    priors.HalfNormal: lambda s: stats.halfnorm(0, s),
    priors.HalfCauchy: lambda s: stats.halfcauchy(0, s),
}
SCALES = {
    "one number": torch.tensor(0.5),
    "each weight": torch.tensor([[0.5, 0.25], [1.5, 2.0]]),
    "each row": torch.tensor([[0.5], [2.0]]),
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("prior", OF_SCALE, ids=lambda law: law.__name__)
def test_a_tensor_as_a_priors_scale(prior, scale):
    law = prior(scale)("w", torch.Size([2, 2]))
    value = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    assert (law.batch_shape, law.event_shape) == ((), (2, 2))
    expected = OF_SCALE[prior](scale.numpy()).logpdf(value.numpy()).sum()
    assert law.log_prob(value).item() == pytest.approx(expected, rel=1e-5)


def test_a_float32_tensor_as_scale_in_float64():
    scales, w = torch.tensor([[0.5, 0.25]]), np.array([0.4, -0.3])
    model = bz.BNN(network(), priors.Normal(scales), likelihoods.Gaussian(torch.tensor(0.75)))
    value, _ = LogJoint(model, (X, Y))(torch.tensor(w)[None].repeat(3, 1))
    expected = stats.norm(0, scales[0].double()).logpdf(w).sum() + stats.norm(X.numpy() @ w, 0.75).logpdf(Y.numpy()).sum()
    np.testing.assert_allclose(value.numpy(), [expected] * 3, rtol=1e-12)


def test_horseshoe_with_a_tensor():
    trace = pyro.poutine.trace(priors.Horseshoe(torch.tensor(0.5))).get_trace("w", torch.Size([3]))
    tau = trace.nodes["w_global_scale"]
    assert tau["fn"].log_prob(torch.tensor(0.2)).item() == pytest.approx(stats.halfcauchy(0, 0.5).logpdf(0.2), rel=1e-5)


def test_noise_of_each_column():
    f, y = torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    law = likelihoods.Gaussian(torch.tensor([0.5, 2.0]))(f)
    expected = stats.norm(0, [0.5, 2.0]).logpdf(np.ones(2)).sum()
    np.testing.assert_allclose(law.log_prob(y).numpy(), expected, rtol=1e-12)


def test_noise_of_each_column_inferred():
    """A law of k numbers is one site of k numbers, without dimensions of its own for a plate."""
    with pyro.poutine.trace() as trace:
        law = likelihoods.Gaussian(dist.HalfNormal(torch.ones(2)))(torch.zeros(4, 2))
    site = trace.trace.nodes["noise"]["fn"]
    assert (site.batch_shape, site.event_shape, law.batch_shape, law.event_shape) == ((), (2,), (4,), (2,))


def test_a_sampled_scale_handed_on():
    """A tensor may be the value of another site: then it has no numbers while the model is traced."""

    def model(y):
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        w = pyro.sample("w", priors.Laplace(tau)("w", torch.Size([4])))
        with pyro.plate("data", 4):
            pyro.sample("y", likelihoods.Gaussian(tau)(w[:, None]), obs=y)

    log_joint = LogJoint(model, (Y,))
    for chains in (1, 2):
        value, _ = log_joint(torch.full((chains, 5), 0.2, dtype=torch.float64))
        s = math.exp(0.2)
        expected = stats.halfnorm.logpdf(s) + 0.2 + 4 * stats.laplace(0, s).logpdf(0.2) + stats.norm(0.2, s).logpdf(Y).sum()
        np.testing.assert_allclose(value.numpy(), [expected] * chains, rtol=1e-12)


def test_gradients_reach_a_tensor():
    scale = torch.tensor(0.5, requires_grad=True)
    priors.Normal(scale)("w", torch.Size([2])).log_prob(torch.ones(2)).backward()
    assert scale.grad.item() == pytest.approx(2 * (-1 / 0.5 + 1 / 0.5**3))


# ---------------------------------------------------------------------- rules, and what is refused


@pytest.mark.parametrize("made", [lambda: dist.Gamma(2.0, 0.5), lambda: priors.HalfCauchy(0.3), lambda: torch.tensor(0.5)])
def test_a_rule_may_give_what_a_scale_may_be(made):
    with pyro.poutine.trace() as trace, pyro.poutine.condition(data={"w_scale": torch.tensor(0.5)}):
        law = priors.Normal(lambda shape: made())("w", torch.Size([3]))
    assert list(trace.trace.nodes) == (["w_scale"] if not isinstance(made(), torch.Tensor) else [])
    assert law.log_prob(torch.ones(3)).item() == pytest.approx(3 * stats.norm(0, 0.5).logpdf(1.0), rel=1e-5)


class OwnLaw(dist.TorchDistribution):
    """Somebody's own law, which cannot be made again from outside."""

    arg_constraints, support = {}, dist.constraints.positive

    def __init__(self, rate):
        self.rate = torch.as_tensor(rate, dtype=torch.get_default_dtype())
        super().__init__(self.rate.shape)

    def rsample(self, sample_shape=()):
        return -torch.rand(self.shape(sample_shape), dtype=self.rate.dtype).log() / self.rate

    def log_prob(self, value):
        return self.rate.log() - self.rate * value


def test_a_law_of_an_own_class():
    """Where it fits it is taken as it is; else the error says what to write, and that works."""
    with pytest.raises(bz.ModelError, match=r"OwnLaw was made outside .* write lambda shape: OwnLaw\(…\)"):
        LogJoint(bz.BNN(network(), priors.Normal(OwnLaw(0.5)), likelihoods.Gaussian(0.5)), (X, Y))
    model = bz.BNN(
        network(), priors.Normal(lambda shape: OwnLaw(0.5)), likelihoods.Gaussian(lambda name, shape: OwnLaw(0.75))
    )
    value, _ = LogJoint(model, (X, Y))(torch.full((2, 4), 0.2, dtype=torch.float64))
    s = math.exp(0.2)
    expected = stats.expon(scale=1 / 0.5).logpdf(s) + stats.expon(scale=1 / 0.75).logpdf(s) + 0.4
    expected += stats.norm(0, s).logpdf([0.2, 0.2]).sum() + stats.norm(X.numpy().sum(1) * 0.2, s).logpdf(Y).sum()
    np.testing.assert_allclose(value.numpy(), [expected] * 2, rtol=1e-12)
    assert LogJoint(bz.BNN(network(), priors.Normal(OwnLaw(0.5)), likelihoods.Gaussian(0.5)), (X.float(), Y.float()))


BAD = [
    0.0,
    -1.0,
    math.nan,
    math.inf,
    np.float32("nan"),
    torch.tensor(-1.0),
    torch.tensor([0.5, 0.0]),
    torch.tensor([math.inf]),
]


@pytest.mark.parametrize("scale", BAD, ids=str)
@pytest.mark.parametrize("law", [*OF_SCALE, priors.Horseshoe, likelihoods.Gaussian])
def test_scales_that_cannot_be(law, scale):
    with pytest.raises(ValueError, match=rf"{law.__name__}: the (noise )?scale must be a finite number > 0, got"):
        law(scale)


@pytest.mark.parametrize("scale", BAD, ids=str)
def test_rules_that_give_what_cannot_be(scale):
    """Checked where the rule is called, and that is when a fit begins."""
    prior = priors.Normal(lambda shape: scale)
    with pytest.raises(ValueError, match=r"the scale that the rule gives 'w' must be a finite number > 0"):
        prior("w", torch.Size([2]))
    with pytest.raises(ValueError, match=r"the scale that the rule gives 'weight' must be a finite number > 0"):
        bz.BNN(network(), prior, likelihoods.Gaussian())(X, Y)


@pytest.mark.parametrize("shape", [(3,), (2, 1, 2)], ids=str)
def test_a_tensor_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"scale of 'w' must be one number, or have the weight's shape \(1, 2\), got \("):
        priors.Normal(torch.ones(shape))("w", torch.Size([1, 2]))
    with pytest.raises(ValueError, match=r"one number, or one for each of the 2 columns of y, got \("):
        likelihoods.Gaussian(torch.ones(shape))(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"one number, or one for each of the 2 columns of y, got \("):
        likelihoods.Gaussian(dist.HalfNormal(torch.ones(shape)))(torch.zeros(4, 2))


def test_a_noise_prior_that_gives_no_law():
    with pytest.raises(bz.ModelError, match="must give a distribution, got float"):
        likelihoods.Gaussian(lambda name, shape: 1.0)(torch.zeros(4, 2))


def test_numbers_of_numpy():
    for number in (np.float32(0.5), np.float64(0.5), np.int64(2)):
        expected = stats.norm(0, float(number)).logpdf(np.ones(2)).sum()
        assert priors.Normal(number)("w", torch.Size([2])).log_prob(torch.ones(2)).item() == pytest.approx(
            expected, rel=1e-5
        )
        law = likelihoods.Gaussian(number)(torch.zeros(2, 1))
        assert law.log_prob(torch.ones(2)).sum().item() == pytest.approx(expected, rel=1e-5)


def test_one_number_for_several_columns_or_all():
    """0-dim, [1] and [k] agree where they say the same."""
    f, y = torch.zeros(4, 2), torch.ones(4, 2)
    laws = [likelihoods.Gaussian(s)(f).log_prob(y) for s in (0.5, torch.tensor(0.5), torch.full((2,), 0.5))]
    assert all(torch.equal(a, b) for a, b in pairwise(laws))
