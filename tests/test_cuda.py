"""Where tensors lie, without a GPU: every part runs on fake tensors that know shape, dtype and device, and hold no numbers.

An operation on tensors of two devices raises, as on a GPU. What this cannot see: numbers; the backward pass (torch's engine
asks the driver for the device), so the gradient is a stand-in; tracing and compiling, which compute with constants;
the branches that a decision on numbers would take (it is always the one of ``answer``); kernels of CUDA themselves. Tests
marked ``cuda`` at the end run where there is a GPU.
"""

import inspect
import math
from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.func import vmap
from torch.overrides import TorchFunctionMode

import bnn_zoo as bz
from bnn_zoo import bijections, density, guides, handlers, kernels, likelihoods, nets, predict, priors
from bnn_zoo._random import OneStream, Streams, Use
from bnn_zoo._scope import factory
from bnn_zoo.catalogue import of
from bnn_zoo.density import log_joint as engine
from bnn_zoo.density import starts
from bnn_zoo.diagnostics import ranks
from bnn_zoo.kernels import adaptation, integrators, mass, nuts
from bnn_zoo.kernels.chees import Lockstep
from bnn_zoo.kernels.dense import DenseFisherMass, DenseMass
from bnn_zoo.kernels.hmc import Dynamics
from bnn_zoo.kernels.langevin import Heat
from bnn_zoo.kernels.low_rank import LowRankFisherMass
from bnn_zoo.kernels.mclmc import Microcanonical

CUDA = torch.device("cuda", 0)
# A choice by numbers (how many chains are stuck?) has no answer where tensors have none: such a test says what it could.
pytestmark = pytest.mark.xfail(
    strict=False,
    raises=(DataDependentOutputException, DynamicOutputShapeException),
    reason="asks a fake tensor for numbers",
)
BOTH = pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64], ids=["float32", "float64"]
)  # float32 could not be told from the default
CHAINS, DIM = 2, 5


class OneDevice(TorchFunctionMode):
    """Random numbers come from a generator of the device on which they are wanted: fake tensors do not look at that."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and isinstance(out, torch.Tensor):
            assert generator.device == out.device, f"{func.__name__} on {out.device} from a generator on {generator.device}"
        return out


class FakeGenerator(torch.Generator):
    """A generator that says it were on a CUDA device."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.place = torch.device(device)

    @property
    def device(self):
        return self.place

    def manual_seed(self, seed):
        return self


def no_gradient(f, argnums=0, has_aux=False):
    """Stands in for ``grad_and_value``: the value, and something of the gradient's shape."""

    def both(*args):
        out, at = f(*args), args[0]
        return ({k: 0.5 * v for k, v in at.items()} if isinstance(at, dict) else 0.5 * at), out

    return both


def untraced(target, position, tensors):
    """Stands in for ``choose``: the log joint as it is, with the defaults under which it would have been traced."""
    dtype, dims = torch.get_default_dtype(), (0, *((0 if target.rows_per_chain else None) for _ in tensors))

    def call(*inputs):
        with factory(CUDA, dtype):
            gradient, value = vmap(no_gradient(target.value), in_dims=dims)(*inputs)
        return value, gradient

    return call


@pytest.fixture
def fake(monkeypatch):
    """Fake tensors, a fake generator, and an ``answer`` to every question about numbers."""
    fixed = {"__bool__": True, "__float__": 0.5, "__int__": 1, "__index__": 1, "item": 0.5}
    for name, value in fixed.items():
        monkeypatch.setattr(FakeTensor, name, lambda self, value=value: value, raising=False)
    monkeypatch.setattr(FakeTensor, "tolist", lambda self: [0.5] * self.numel() if self.dim() else 0.5, raising=False)
    monkeypatch.setattr(torch, "equal", lambda a, b: True)
    monkeypatch.setattr(torch, "Generator", FakeGenerator)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(engine, "choose", untraced)
    monkeypatch.setattr(engine, "autograd_works", lambda: True)
    pyro.clear_param_store()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, OneDevice(), pyro.validation_enabled(False):
        yield mode
    pyro.clear_param_store()
    for cached in (integrators.limit_of, nuts._sizes, ranks._table):
        cached.cache_clear()


@contextmanager
def answer(monkeypatch, value):
    """What a fake tensor says when it is asked whether it is true."""
    with monkeypatch.context() as patch:
        patch.setattr(FakeTensor, "__bool__", lambda self: value)
        yield


def generator():
    return torch.Generator(CUDA)


def there(value, dtype=None):
    """Every tensor in ``value`` is on the device, and floating ones have the dtype."""
    if isinstance(value, torch.Tensor):
        assert value.device == CUDA and (dtype is None or not value.is_floating_point() or value.dtype == dtype), value
    elif isinstance(value, dict):
        there(list(value.values()), dtype)
    elif isinstance(value, list | tuple):
        for part in value:
            there(part, dtype)
    return True


def sites_there(trace, dtype):
    """Values and log densities of all sites."""
    trace.compute_log_prob()
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and name != "data":
            there([site["value"], site["log_prob"]], dtype)


def rows(dtype, outputs=1):
    return torch.randn(8, 3, device=CUDA, dtype=dtype), torch.randn(
        8, *([outputs] if outputs > 1 else []), device=CUDA, dtype=dtype
    )


def network(outputs=1):
    """The caller's net: a real one, on the CPU in float32."""
    with unset_fake_temporarily():
        return nets.MLP(3, outputs, hidden=(4,)) if outputs else torch.nn.Linear(3, 1)


SCALES = {
    "number": lambda: 0.3,
    "tensor": lambda: torch.tensor(0.3),
    "fan_in": lambda: priors.fan_in,
    "rule of a tensor": lambda: lambda shape: torch.tensor(0.3),
    "prior": lambda: priors.HalfCauchy(0.3),
    "two levels": lambda: priors.HalfNormal(priors.HalfCauchy(0.3)),
    "HalfNormal": lambda: dist.HalfNormal(0.3),
    "HalfCauchy": lambda: dist.HalfCauchy(0.3),
    "Gamma": lambda: dist.Gamma(2.0, 0.5),
    "LogNormal": lambda: dist.LogNormal(0.0, 0.5),
    "folded": lambda: dist.FoldedDistribution(dist.StudentT(3.0, 0.0, 1.0)),
    "torch's": lambda: torch.distributions.HalfNormal(0.3),
}
LAWS = [n for n in of("prior") if n not in ("GaussianMixture", "LogUniform", "PerSite", "Shared")]
LIKELIHOODS = {  # likelihood, outputs of the net, y
    "Gaussian": (lambda: likelihoods.Gaussian(), 1, lambda d: torch.randn(8, dtype=d, device=CUDA)),
    "two columns": (lambda: likelihoods.Gaussian(), 2, lambda d: torch.randn(8, 2, dtype=d, device=CUDA)),
    "noise of a number": (lambda: likelihoods.Gaussian(0.3), 1, lambda d: torch.randn(8, dtype=d, device=CUDA)),
    "noise of columns": (
        lambda: likelihoods.Gaussian(torch.tensor([0.3, 1.0])),
        2,
        lambda d: torch.randn(8, 2, dtype=d, device=CUDA),
    ),
    "Heteroscedastic": (lambda: likelihoods.HeteroscedasticGaussian(), 2, lambda d: torch.randn(8, dtype=d, device=CUDA)),
    "Categorical": (lambda: likelihoods.Categorical(), 3, lambda d: torch.zeros(8, dtype=torch.long, device=CUDA)),
    "Bernoulli": (lambda: likelihoods.Bernoulli(), 1, lambda d: torch.zeros(8, dtype=d, device=CUDA)),
    "void labels": (
        lambda: likelihoods.Categorical(ignore=-1, class_weights=[1.0, 2.0, 3.0]),
        3,
        lambda d: torch.arange(8, device=CUDA) % 4 - 1,
    ),
    "mixture": (lambda: likelihoods.MixtureDensity(2), 6, lambda d: torch.randn(8, dtype=d, device=CUDA)),
}


def check_model(model, x, y, dtype):
    """One run with y and one without, and the log joint of one chain and of two, in any coordinates."""
    sites_there(poutine.trace(model).get_trace(x, y), dtype)
    there(model(x))
    log_joint = density.LogJoint(model, (x, y))
    for chains in (1, CHAINS):
        position = torch.randn(chains, log_joint.dim, dtype=dtype, device=CUDA)
        there(log_joint(position), dtype)
    sites = log_joint.constrain(position)
    there([sites, log_joint.unconstrain(sites), log_joint.log_jacobian(position)], dtype)


# ---------------------------------------------------------------------- models


@pytest.mark.parametrize("dtype", [torch.float64], ids=["float64"])  # float32 could not be told from the default
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale(fake, scale, dtype):
    model = bz.BNN(network(0), priors.Normal(SCALES[scale]()), likelihoods.Gaussian(0.5))
    check_model(model, *rows(dtype), dtype)


@pytest.mark.parametrize("dtype", [torch.float64], ids=["float64"])  # float32 could not be told from the default
@pytest.mark.parametrize("scale", ["number", "prior", "Gamma"])
@pytest.mark.parametrize("law", LAWS)
def test_every_prior(fake, law, scale, dtype):
    """With a law of positive numbers alone as weights too."""
    with factory(CUDA, dtype), poutine.trace() as trace:
        made = getattr(priors, law)(SCALES[scale]())("w", torch.Size([4, 3]))
        there(made.log_prob(torch.full((4, 3), 0.5)), dtype)
    sites_there(trace.trace, dtype)


@BOTH
def test_other_priors(fake, dtype):
    table = priors.PerSite({"*.bias": priors.LogUniform(), "*": priors.Laplace(dist.HalfCauchy(1.0))})
    log_joint = density.LogJoint(bz.BNN(network(), table, likelihoods.Gaussian()), rows(dtype))
    there(log_joint(torch.randn(CHAINS, log_joint.dim, dtype=dtype, device=CUDA)), dtype)
    mixture = priors.GaussianMixture(1, location=dist.Normal(0.0, 1.0), zero=0.5)  # a Dirichlet asks for the driver
    log_joint = density.LogJoint(bz.BNN(network(), mixture, likelihoods.Gaussian()), rows(dtype))
    there(log_joint(torch.randn(CHAINS, log_joint.dim, dtype=dtype, device=CUDA)), dtype)


@BOTH
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood(fake, name, dtype):
    likelihood, outputs, y = LIKELIHOODS[name]
    model = bz.BNN(network(outputs), priors.Normal(1.0), likelihood())
    check_model(model, rows(dtype)[0], y(dtype), dtype)


@pytest.mark.parametrize("name", of("net"))
def test_every_net(name):
    """Weights and rows on the GPU in float64: whatever a network makes on its way is there too."""
    entry = of("net")[name]
    net = entry.make()
    with FakeTensorMode():
        x = torch.rand(2, *entry.facts["x"], device=CUDA, dtype=torch.float64)
        x = (entry.facts["below"] * x).long() if "below" in entry.facts else x
        weights = {n: torch.empty(p.shape, device=CUDA, dtype=torch.float64) for n, p in net.named_parameters()}
        out = torch.func.functional_call(net, weights, (x,))
    assert out.device == CUDA and out.dtype == torch.float64


@BOTH
def test_fixed_weights_and_buffers_of_the_net(fake, dtype):
    """They are the caller's, on the CPU in float32, and stay there."""
    with unset_fake_temporarily():
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GroupNorm(2, 4), torch.nn.Linear(4, 1))
        net[0].requires_grad_(False)
        net.register_buffer("centre", torch.zeros(3))
    check_model(bz.BNN(net, priors.Normal(1.0), likelihoods.Gaussian()), *rows(dtype), dtype)
    assert net.centre.device.type == net[0].weight.device.type == "cpu"


def test_a_prior_that_holds_tensors_of_the_cpu(fake):
    centre = torch.zeros(())

    def prior(name, shape):
        return dist.Normal(centre, 1.0).expand(shape).to_event(len(shape))

    model = bz.BNN(network(), prior, likelihoods.Gaussian())
    check_model(model, *rows(torch.float32), torch.float32)


def test_plain_pyro(fake):
    """Predictive and a step of SVI's loss, with Pyro's own guide, on the default noise."""
    (x, y), model = rows(torch.float32), bz.BNN(network(), priors.Normal(dist.HalfCauchy(1.0)), likelihoods.Gaussian())
    there(Predictive(model, num_samples=3)(x))
    with factory(CUDA, torch.float32):  # as Pyro's guides need it
        guide = AutoNormal(model)
        loss = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).loss_and_grads
        guide(x, y)
        assert callable(loss)
        trace = poutine.trace(poutine.replay(model, poutine.trace(guide).get_trace(x, y))).get_trace(x, y)
    sites_there(trace, torch.float32)


# ---------------------------------------------------------------------- supports, guides, handlers


@BOTH
@pytest.mark.parametrize(
    "support",
    [
        dist.constraints.lower_cholesky,
        dist.constraints.positive_definite,
        dist.constraints.positive,
        dist.constraints.interval(0.0, 1.0),
        dist.constraints.simplex,
    ],
    ids=str,
)
def test_every_bijection(fake, support, dtype):
    transform = bijections.bijection(support)
    u = torch.randn(2, *([6] if transform.domain.event_dim else []), dtype=dtype, device=CUDA)
    value = transform(u)
    there([value, transform.inv(value), transform.log_abs_det_jacobian(u, value)], dtype)


GUIDES = {"MeanFieldNormal": guides.MeanFieldNormal, "MCDropout": guides.MCDropout}


@BOTH
@pytest.mark.parametrize("name", GUIDES)
def test_every_guide(fake, name, dtype):
    """As the variational backends run them, and as a plain guide beside a plain model."""
    (x, y), model = rows(dtype), bz.BNN(network(), priors.Normal(dist.HalfCauchy(1.0)), likelihoods.Gaussian())
    guide = GUIDES[name](model)
    drawn = poutine.trace(guide).get_trace(x, y)
    sites_there(drawn, dtype)
    sites_there(poutine.trace(poutine.replay(model, drawn)).get_trace(x, y), dtype)
    there(dict(pyro.get_param_store().items()), dtype)
    there(Predictive(model, guide=guide, num_samples=2)(x))


@BOTH
def test_held_values(fake, dtype):
    """They come from the CPU in float32, and follow the data."""
    with unset_fake_temporarily():
        model = of("effect")["Fixed"].make()
    check_model(model, *rows(dtype), dtype)


@BOTH
def test_non_centred_weights(fake, dtype):
    """All but the density of the sites themselves, which is no number of the model: they are functions of others."""
    with unset_fake_temporarily():
        model = of("effect")["NonCentred"].make()
    trace = poutine.trace(model).get_trace(*rows(dtype))
    there([site["value"] for n, site in trace.nodes.items() if site["type"] == "sample" and n != "data"], dtype)


@BOTH
@pytest.mark.parametrize("name", of("handler"))
def test_every_handler(fake, name, dtype):
    (x, y), model = rows(dtype), bz.BNN(network(), priors.Normal(1.0), likelihoods.Gaussian(0.5))
    guide = GUIDES["MCDropout" if name == "RowMasks" else "MeanFieldNormal"](model)
    guide(x, y)
    handler = getattr(handlers, name)()
    with handler:
        drawn = poutine.trace(guide).get_trace(x, y)
        sites_there(poutine.trace(poutine.replay(model, drawn)).get_trace(x, y), dtype)
        assert handler.laws


# ---------------------------------------------------------------------- kernels


def plain(position):
    """The log joint of a standard normal with its gradient."""
    return -0.5 * position.square().sum(-1), -position


KERNELS = {
    "NUTS": kernels.NUTS(max_tree_depth=3),
    "HMC": kernels.HMC(max_leapfrogs=3),
    "RandomWalk": kernels.RandomWalk(),
    "AdjustedMCLMC": kernels.AdjustedMCLMC(max_steps=3),
    "ChEES": kernels.ChEES(max_leapfrogs=3),
    "MCLMC": kernels.MCLMC(),
    "SGLD": kernels.SGLD(),
    "PSGLD": kernels.PSGLD(rows=10.0),
    "SGHMC": kernels.SGHMC(scale_adapted=True, adapting=True),
    "SGNHT": kernels.SGNHT(),
    "Optimise": kernels.Optimise(),
}


def test_every_kernel_is_here():
    steps = {n for n in kernels.__all__ if inspect.isclass(getattr(kernels, n)) and "step" in dir(getattr(kernels, n))}
    assert steps == KERNELS.keys()


@BOTH
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel(fake, name, dtype):
    kernel, position = KERNELS[name], torch.randn(CHAINS, DIM, dtype=dtype, device=CUDA)
    random, each = OneStream(generator(), like=position), torch.full((CHAINS,), 0.1, dtype=dtype, device=CUDA)
    metric, scale = kernels.Diagonal(torch.ones_like(position)), torch.ones_like(position)
    special = {"ChEES": Lockstep(metric, each, 0.3), "MCLMC": Microcanonical(scale, each, each)}
    langevin = name in ("SGLD", "PSGLD", "SGHMC", "SGNHT", "Optimise")
    parameters = special.get(name, Heat(1e-3, 1.0) if langevin else Dynamics(metric, each))
    state = kernel.init(position, plain, random)
    for _ in range(2):
        state, info = kernel.step(plain, state, parameters, random)
        kept = state._asdict()
        if name == "Optimise":  # torch's optimisers count their steps on the CPU
            kept["moments"] = {key: value for key, value in state.moments.items() if key != "step"}
        there([kept, list(info)], dtype)


@BOTH
def test_streams_of_chains(fake, dtype):
    """But for the one number that all chains share, which is the CPU's."""
    with unset_fake_temporarily():
        random = Streams(0, Use.MOVES, range(CHAINS), CUDA, dtype)
    for shape in ((), (DIM,), (2, DIM), (5000,)):
        for made in (random.normal(*shape), random.uniform(*shape)):
            assert made.shape == (CHAINS, *shape) and there(made) and made.dtype == dtype
    assert random.own(1, 3, DIM).shape == (3, DIM) and there(random.own(1, 3, DIM)) and there(random.ahead, dtype)
    assert isinstance(random.common(), float) and random.shared.device.type == "cpu"


@BOTH
@pytest.mark.parametrize(
    "rule",
    [mass.DiagonalMass(), mass.FisherMass(), DenseMass(), DenseFisherMass(), LowRankFisherMass(rank=2)],
    ids=lambda r: type(r).__name__,
)
def test_every_mass_matrix(fake, rule, dtype, monkeypatch):
    position = torch.randn(CHAINS, DIM, dtype=dtype, device=CUDA)
    seen = rule.estimator()
    for _ in range(8):
        seen.update(position, -position)
    monkeypatch.setattr(
        "bnn_zoo.kernels.low_rank._basis", lambda x, g: torch.randn_like(x[:3].mT)
    )  # keeps what is large enough
    for metric in (rule.start(position), rule.estimate(seen)):
        random = OneStream(generator(), like=position)
        p = metric.sample(random)
        there([list(metric), p, metric.velocity(p)], dtype)
        state = kernels.HMC().init(position, plain, random)
        there(adaptation.reasonable_step_size(plain, state, metric, position[:, 0].abs(), random), dtype)


@BOTH
def test_tuning(fake, dtype):
    each = torch.full((CHAINS,), 0.1, dtype=dtype, device=CUDA)
    stepper = adaptation.DualAveraging()
    stepper.restart(each)
    stepper.update(each)
    there([stepper.step_size, stepper.final], dtype)


# ---------------------------------------------------------------------- starts, runs, prediction, export


@pytest.mark.parametrize(
    "start",
    [pytest.param(starts.from_support, marks=pytest.mark.slow), pytest.param(starts.Adam(steps=2), marks=pytest.mark.slow)],
    ids=["from_support", "Adam"],
)
def test_every_start(fake, start, monkeypatch):
    model = bz.BNN(network(), priors.Normal(dist.HalfCauchy(1.0)), likelihoods.Gaussian())
    log_joint = density.LogJoint(model, rows(torch.float32))
    with answer(monkeypatch, False):  # no chain is bad
        there(start(log_joint, CHAINS, generator()), torch.float32)


@BOTH
@pytest.mark.parametrize("name", ["Gaussian", "two columns", "Heteroscedastic", "Categorical", "Bernoulli"])
def test_prediction(fake, name, dtype):
    """Laws of y at draws that came home to the CPU, for rows on the device."""
    likelihood, outputs, y = LIKELIHOODS[name]
    model, (x, _) = bz.BNN(network(outputs), priors.Normal(1.0), likelihood()), rows(dtype)
    log_joint = density.LogJoint(model, (x, y(dtype)))
    draws = {k: v.cpu() for k, v in log_joint.constrain(anywhere(log_joint, 4)).items()}
    sites = {k: v.reshape(2, 2, *v.shape[1:]) for k, v in draws.items()}
    made = predict.predict(model, sites, (x,))
    assert made.draws.shape[:2] == (2, 2) and made.mean.device == made.sd.device == torch.device("cpu")
    found = predict.log_likelihood(model, sites, (x, y(dtype)))
    assert found["y"].shape == (2, 2, 8) and found["y"].dtype == dtype


def anywhere(log_joint, chains):
    return torch.randn(chains, log_joint.dim, device=log_joint.device, dtype=log_joint.dtype)


# ---------------------------------------------------------------------- where there is a GPU


@pytest.mark.cuda
@BOTH
@pytest.mark.parametrize("scale", SCALES)
def test_log_joint_on_a_gpu(scale, dtype):
    """The value on a GPU is that of the CPU."""
    net, x, y = torch.nn.Linear(3, 1), torch.randn(8, 3, dtype=dtype), torch.randn(8, dtype=dtype)
    values = []
    for device in ("cpu", "cuda"):
        model = bz.BNN(net, priors.Normal(SCALES[scale]()), likelihoods.Gaussian())
        log_joint = density.LogJoint(model, (x.to(device), y.to(device)))
        value, gradient = log_joint(torch.linspace(-1, 1, 2 * log_joint.dim, dtype=dtype, device=device).reshape(2, -1))
        assert gradient.isfinite().all() and value.device.type == device
        values.append(value.cpu())
    torch.testing.assert_close(*values)


@pytest.mark.cuda
def test_a_model_on_a_gpu():
    model = bz.BNN(nets.MLP(3, 1, hidden=(4,)), priors.Normal(dist.HalfCauchy(1.0)), likelihoods.Gaussian())
    x = torch.randn(8, 3, device="cuda")
    assert model(x).is_cuda and all(v.is_cuda for v in Predictive(model, num_samples=3)(x).values())
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(x, model(x).detach()))
