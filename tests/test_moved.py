"""Laws moved to another dtype and device: exact values, nothing left behind, or a refusal with a remedy."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import distributions as plain
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import constraints
from torch.distributions import transforms as T

from bnn_zoo._scope import factory
from bnn_zoo.laws import LogUniform, moved
from bnn_zoo.laws.moved import _tensors

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
t = torch.tensor


def square():
    return t([[2.0, 0.25], [0.25, 1.5]])


def triangle():
    return t([[1.5, 0.0], [0.25, 0.75]])


LAWS = {  # made anew in the dtype of the moment; numbers that float32 holds exactly
    "Normal": lambda: dist.Normal(0.25, 0.75),
    "HalfNormal": lambda: dist.HalfNormal(0.25),
    "HalfCauchy": lambda: dist.HalfCauchy(0.25),
    "Gamma": lambda: dist.Gamma(0.75, 1.5),
    "InverseGamma": lambda: dist.InverseGamma(1.5, 0.75),
    "LogNormal": lambda: dist.LogNormal(0.25, 0.75),
    "Exponential": lambda: dist.Exponential(0.75),
    "Uniform": lambda: dist.Uniform(0.25, 0.75),
    "Weibull": lambda: dist.Weibull(0.75, 1.5),
    "Chi2": lambda: dist.Chi2(1.5),
    "Pareto": lambda: dist.Pareto(0.25, 0.75),
    "Beta": lambda: dist.Beta(1.5, 0.75),
    "Kumaraswamy": lambda: dist.Kumaraswamy(1.5, 0.75),
    "FisherSnedecor": lambda: dist.FisherSnedecor(1.5, 3.0),
    "StudentT": lambda: dist.StudentT(3.0, 0.25, 0.75),
    "Cauchy": lambda: dist.Cauchy(0.25, 0.75),
    "Laplace": lambda: dist.Laplace(0.25, 0.75),
    "Gumbel": lambda: dist.Gumbel(0.25, 0.75),
    "GeneralizedPareto": lambda: dist.GeneralizedPareto(0.25, 0.75, 0.5),
    "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(0.25, 0.75, t(1.5)),
    "SoftAsymmetricLaplace": lambda: dist.SoftAsymmetricLaplace(0.25, 0.75, 1.5),
    "SoftLaplace": lambda: dist.SoftLaplace(0.25, 0.75),
    "SkewLogistic": lambda: dist.SkewLogistic(0.25, 0.75, 1.5),
    "AffineBeta": lambda: dist.AffineBeta(t(1.5), t(0.75), t(0.25), t(2.0)),
    "Dirichlet": lambda: dist.Dirichlet(t([0.25, 0.75, 1.5])),
    "covariance": lambda: dist.MultivariateNormal(t([0.25, 0.75]), square()),
    "precision": lambda: dist.MultivariateNormal(t([0.25, 0.75]), precision_matrix=square()),
    "triangle": lambda: dist.MultivariateNormal(t([0.25, 0.75]), scale_tril=triangle()),
    "low rank": lambda: dist.LowRankMultivariateNormal(t([0.25, 0.75]), t([[0.5], [0.25]]), t([1.5, 0.5])),
    "MultivariateStudentT": lambda: dist.MultivariateStudentT(t(3.0), t([0.25, 0.75]), triangle()),
    "LKJ": lambda: dist.LKJ(3, 0.75),
    "LKJCholesky": lambda: dist.LKJCholesky(3, 0.75),
    "Wishart": lambda: dist.Wishart(t(3.0), scale_tril=triangle()),
    "VonMises": lambda: dist.VonMises(t(0.25), t(0.75)),
    "LogisticNormal": lambda: dist.LogisticNormal(t([0.25, 0.75]), t([0.5, 1.5])),
    "folded": lambda: dist.FoldedDistribution(dist.StudentT(3.0, 0.0, 0.75)),
    "Independent": lambda: dist.HalfNormal(t([0.25, 0.75])).to_event(1),
    "expanded": lambda: dist.Gamma(0.25, 0.75).expand([2]).to_event(1),
    "ExpandedDistribution": lambda: dist.ExpandedDistribution(dist.Normal(0.0, 0.75), torch.Size([2])),
    "masked": lambda: dist.Gamma(0.75, 0.25).mask(True),
    "masked by a tensor": lambda: dist.Gamma(t([0.25, 0.75]), 0.75).mask(t([True, False])),
    "affine, exp": lambda: dist.TransformedDistribution(
        dist.Normal(0.25, 0.75), [T.AffineTransform(t(0.25), t(0.5)), T.ExpTransform()]
    ),
    "independent transform": lambda: dist.TransformedDistribution(
        dist.Normal(0.25, 0.75).expand([2]).to_event(1),
        [T.IndependentTransform(T.AffineTransform(t(0.25), t([0.5, 0.75])), 1)],
    ),
    "inverse transform": lambda: dist.TransformedDistribution(
        dist.Gamma(0.25, 0.75), [T.AffineTransform(t(0.25), t(0.5)).inv]
    ),
    "composed transform": lambda: dist.TransformedDistribution(
        dist.Gamma(0.75, 0.25), T.ComposeTransform([T.PowerTransform(t(-0.25))])
    ),
    "mixture": lambda: dist.MixtureSameFamily(dist.Categorical(t([0.25, 0.75])), dist.Gamma(t([0.25, 1.5]), 0.75)),
    "masked mixture": lambda: dist.MaskedMixture(t(True), dist.Gamma(0.25, 0.75), dist.HalfNormal(0.25)),
    "Delta": lambda: dist.Delta(t(0.25)),
    "Bernoulli": lambda: dist.Bernoulli(0.25),
    "Bernoulli of logits": lambda: dist.Bernoulli(logits=t(0.25)),
    "Categorical": lambda: dist.Categorical(t([0.25, 0.75])),
    "OneHotCategorical": lambda: dist.OneHotCategorical(logits=t([0.25, 0.75])),
    "Poisson": lambda: dist.Poisson(0.75),
    "NegativeBinomial": lambda: dist.NegativeBinomial(3.0, 0.25),
    "BetaBinomial": lambda: dist.BetaBinomial(0.25, 0.75, 3),
    "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(t(0.75), gate=t(0.25)),
    "ZeroInflatedNegativeBinomial": lambda: dist.ZeroInflatedNegativeBinomial(t(3.0), probs=t(0.25), gate_logits=t(0.5)),
    "RelaxedBernoulli": lambda: dist.RelaxedBernoulli(t(0.75), t(0.25)),
    "OrderedLogistic": lambda: dist.OrderedLogistic(t(0.25), t([-0.25, 0.75])),
    "Stable": lambda: dist.StableWithLogProb(1.5, 0.25),
    "torch's HalfNormal": lambda: plain.HalfNormal(0.25),
    "torch's Independent": lambda: plain.Independent(plain.Gamma(t([0.25, 0.75]), 1.5), 1),
}


@pytest.mark.filterwarnings("ignore:Singular sample detected")
@pytest.mark.parametrize("name", LAWS)
def test_float64_is_exact(name):
    """As if it had been made in float64 from the start: what is computed from its arguments is computed again."""
    law = LAWS[name]()
    with factory(CPU, torch.float64):
        exact = LAWS[name]()
        torch.manual_seed(0)
        value = exact.sample()
        new = moved(law, CPU, torch.float64)
        assert torch.equal(new.log_prob(value), exact.log_prob(value)) and new.log_prob(value).dtype == torch.float64
    assert (new.batch_shape, new.event_shape) == (law.batch_shape, law.event_shape)
    assert callable(new) and isinstance(new, getattr(dist, type(law).__name__))


@pytest.mark.parametrize("name", LAWS)
def test_a_law_in_its_place_is_itself(name):
    law = LAWS[name]()
    same = moved(law, CPU, torch.float32)
    assert same is law or name.startswith("torch's")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_nothing_stays_on_the_cpu(name, dtype):
    if name == "Wishart":
        pytest.skip("torch looks at the numbers of its df, which a fake tensor has not")
    with FakeTensorMode(), pyro.validation_enabled(False):
        new = moved(LAWS[name](), CUDA, dtype)
        tensors = [v for v in _tensors(new) if name != "VonMises" or v.dtype == dtype]  # torch keeps two of its in float64
        assert all(v.device == CUDA and (v.dtype == dtype or not v.is_floating_point()) for v in tensors)


def test_values_are_kept_as_they_are():
    """float32's 0.3 stays: nobody knows that 0.3 was meant."""
    new = moved(dist.HalfNormal(0.3), CPU, torch.float64)
    assert new.scale.item() == torch.tensor(0.3).double().item() != 0.3


def test_what_was_computed_before_is_not_taken_over():
    """Logits and a Cholesky factor that were asked for in float32 are computed again."""
    categorical, normal = dist.Categorical(t([0.25, 0.75])), dist.MultivariateNormal(t([0.25, 0.75]), square())
    categorical.logits, normal.scale_tril  # noqa: B018
    assert torch.equal(moved(categorical, CPU, torch.float64).logits, t([0.25, 0.75], dtype=torch.float64).log())
    expected = torch.linalg.cholesky(square().double())
    assert torch.equal(moved(normal, CPU, torch.float64).scale_tril, expected)


def test_gradients_go_through():
    scale = torch.tensor(0.5, requires_grad=True)
    moved(dist.HalfNormal(scale), CPU, torch.float64).log_prob(t(1.0)).backward()
    assert scale.grad.item() == pytest.approx(-1 / 0.5 + 1 / 0.5**3)


def test_checks_of_values_stay_off_where_they_were_off():
    assert moved(dist.HalfNormal(t(1.0), validate_args=False), CPU, torch.float64)._validate_args is False
    switched_on = dist.HalfNormal(t(1.0), validate_args=True)
    with pyro.validation_enabled(False):
        assert not moved(switched_on, CPU, torch.float64)._validate_args


class Own(dist.TorchDistribution):
    """A law whose argument is kept under its name, but changed: made again from it, it would be another."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.positive

    def __init__(self, scale):
        self.scale = 2 * torch.as_tensor(scale)
        super().__init__(self.scale.shape)


class Child(dist.HalfNormal):
    """A law of Pyro with something added."""


def test_laws_of_other_classes():
    law = Own(t(1.0))
    assert moved(law, CPU, torch.float32) is law
    with pytest.raises(ValueError, match=r"Own was made outside .* torch\.float64.* write lambda shape: Own\(…\)"):
        moved(law, CPU, torch.float64)
    child = moved(Child(0.25), CPU, torch.float64)
    assert type(child) is Child and child.scale.dtype == torch.float64
    assert isinstance(moved(LogUniform((2,)), CUDA, torch.float64), LogUniform)  # has no tensor


def test_trainable_transforms_stay():
    spline = dist.transforms.Spline(1)
    law = dist.TransformedDistribution(dist.Normal(t([0.0]), t([1.0])), [spline])
    assert moved(law, CPU, torch.float32) is law
    with pytest.raises(ValueError, match=r"Spline was made outside"):
        moved(law, CPU, torch.float64)


def test_a_law_that_pyro_does_not_know():
    class Mine(plain.Distribution):
        arg_constraints = {}

    with pytest.raises(TypeError, match=r"Mine is no law of Pyro.*TorchDistribution"):
        moved(Mine(), CPU, torch.float32)
