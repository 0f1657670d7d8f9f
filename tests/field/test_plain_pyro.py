"""Models as Pyro's tutorials write them: sums over classes, sizes read from data, loops over plates, missing values, laws
made outside the model, rows of a plate's own; each against a closed form, a sum by hand or quadrature."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import OrderedTransform
from pyro.infer.autoguide import AutoDelta
from pyro.nn import PyroModule, PyroSample
from scipy import stats
from torch.func import functional_call

import bnn_zoo as bz
from bnn_zoo.density import LogJoint


def at(joint, chains=3, seed=0, size=0.7):
    noise = torch.randn(chains, joint.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (size * noise).to(joint.dtype)


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------- sums over discrete sites


def mixture(y):
    w = pyro.sample("w", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("components", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        k = pyro.sample("k", dist.Categorical(w))
        pyro.sample("y", dist.Normal(loc[k], 1.0), obs=y)


def markov(y):
    with pyro.plate("states", 2):
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    x = 0
    for t in pyro.markov(range(len(y))):
        x = pyro.sample(f"x{t}", dist.Bernoulli(p[x] if t else torch.tensor(0.5))).long()
        pyro.sample(f"y{t}", dist.Normal(loc[x], 1.0), obs=y[t])


def shared_class(x, y):
    """One class for all rows: the sum over it is outside the product over rows."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    sign = pyro.sample("sign", dist.Bernoulli(0.3))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal((2.0 * sign - 1.0) * slope * x, 0.5), obs=y)


def test_mixture_is_summed_over_the_class_of_each_row():
    y = numbers(12)
    joint = LogJoint(mixture, (y,))
    assert joint.discrete == ["k"] and [s.name for s in joint.sites] == ["w", "loc"]
    u = at(joint)
    values, _ = joint(u)
    sites = joint.constrain(u)
    for c in range(3):
        w, loc = sites["w"][c].numpy(), sites["loc"][c].numpy()
        rows = np.log(sum(w[k] * stats.norm.pdf(y.numpy(), loc[k], 1.0) for k in range(2))).sum()
        lp = rows + stats.dirichlet.logpdf(w, [1, 1]) + stats.norm.logpdf(loc, 0, 10).sum() + float(joint.log_jacobian(u[c]))
        assert abs(float(values[c]) - lp) < 1e-9


def test_markov_chain_is_summed_over_its_paths():
    y = numbers(5)
    joint = LogJoint(markov, (y,))
    u = at(joint, 2)
    values, _ = joint(u)
    sites = joint.constrain(u)
    for c in range(2):
        p, loc = sites["p"][c].numpy(), sites["loc"][c].numpy()
        total = 0.0
        for path in itertools.product((0, 1), repeat=5):
            prob = 0.5
            for t, state in enumerate(path):
                if t:
                    prob *= p[path[t - 1]] if state else 1 - p[path[t - 1]]
                prob *= stats.norm.pdf(float(y[t]), loc[state], 1.0)
            total += prob
        lp = math.log(total) + stats.beta.logpdf(p, 2, 2).sum() + stats.norm.logpdf(loc, 0, 3).sum()
        assert abs(float(values[c]) - lp - float(joint.log_jacobian(u[c]))) < 1e-9


def test_a_class_for_all_rows():
    x, y = numbers(6), numbers(6, seed=2)
    joint = LogJoint(shared_class, (x, y))
    u = at(joint)
    values, gradients = joint(u)

    def log_density(slope):
        each = [stats.norm.logpdf(y.numpy(), s * slope * x.numpy(), 0.5).sum() for s in (-1, 1)]
        return np.logaddexp(math.log(0.7) + each[0], math.log(0.3) + each[1]) + stats.norm.logpdf(slope)

    for c in range(3):
        slope = float(u[c, 0])
        assert abs(float(values[c]) - log_density(slope)) < 1e-9
        assert abs(float(gradients[c, 0]) - (log_density(slope + 1e-5) - log_density(slope - 1e-5)) / 2e-5) < 1e-4


def test_discrete_sites_under_a_scale_or_a_guide_are_refused():
    y = numbers(12)
    with pytest.raises(bz.ModelError, match=r"'w' is scaled .* use all rows and no scale"):
        LogJoint(poutine.scale(mixture, scale=2.0), (y,))(torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(bz.ModelError, match=r"\['k'\] are discrete: MeanField has no family .* use NUTS"):
        bz.fit(mixture, (y,), bz.MeanField(steps=5), progress=False)

    def only_discrete(y):
        k = pyro.sample("k", dist.Bernoulli(0.5))
        pyro.sample("y", dist.Normal(k, 1.0), obs=y)

    with pytest.raises(bz.ModelError, match=r"\['k'\] are all discrete"):
        LogJoint(only_discrete, (y[0],))


# --------------------------------------------------------------------------------------- numbers read from the data


def groups(group, y=None):
    with pyro.plate("groups", int(group.max()) + 1):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(group)):
        pyro.sample("y", dist.Normal(a[group], 0.5), obs=y)


def test_sizes_read_from_the_data():
    group, y = torch.arange(20) % 5, numbers(20)
    joint = LogJoint(groups, (group, y))
    u = at(joint)
    values, _ = joint(u)
    for c in range(3):
        a = u[c].numpy()
        lp = stats.norm.logpdf(a).sum() + stats.norm.logpdf(y.numpy(), a[group.numpy()], 0.5).sum()
        assert abs(float(values[c]) - lp) < 1e-9


def test_other_rows_are_read_anew():
    """A number read from rows that change is never a constant."""

    def model(x, y, size=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", size or len(x), subsample=x):
            pyro.sample("y", dist.Normal(m * int(x.max()), 1.0), obs=y)

    x, y = torch.arange(8), numbers(8)
    joint = LogJoint(model, (x[:4], y[:4]), {"size": 8}, rows_per_chain=True)
    u = at(joint, 2)
    with pytest.warns(UserWarning, match=r"reads numbers from its rows, .*: the model itself is run .* slower, and right"):
        first, _ = joint(u, x[:4].expand(2, 4), y[:4].expand(2, 4))
    second, _ = joint(u, x[4:].expand(2, 4), y[4:].expand(2, 4))
    for values, rows in ((first, slice(0, 4)), (second, slice(4, 8))):
        for c in range(2):
            m = float(u[c, 0])
            like = stats.norm.logpdf(y[rows].numpy(), m * int(x[rows].max()), 1.0).sum()
            assert abs(float(values[c]) - stats.norm.logpdf(m) - 2.0 * like) < 1e-9


def test_control_flow_on_a_site_is_refused_for_one_chain_too():
    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(m if m > 0 else 2.0 * m, 1.0), obs=y)

    for chains in (1, 3):
        joint = LogJoint(model, (numbers(1)[0],))
        with pytest.raises(bz.ModelError, match=r"control flow depends on the value of a site"):
            joint(at(joint, chains))


def coin(tosses):
    fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
    for i in pyro.plate("tosses", len(tosses)):
        pyro.sample(f"toss_{i}", dist.Bernoulli(fairness), obs=tosses[i])


def test_loop_over_a_plate():
    tosses = torch.tensor([1.0] * 6 + [0.0] * 4, dtype=torch.float64)
    joint = LogJoint(coin, (tosses,))
    u = at(joint)
    values, _ = joint(u)
    for c in range(3):
        f = float(joint.constrain(u[c])["fairness"])
        lp = stats.beta.logpdf(f, 10, 10) + 6 * math.log(f) + 4 * math.log(1 - f) + math.log(f * (1 - f))
        assert abs(float(values[c]) - lp) < 1e-9


def test_law_that_writes_in_place():
    """OrderedLogistic fills its probabilities in place."""

    def model(x, y):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        ordered = dist.TransformedDistribution(dist.Normal(0.0, 1.0).expand([3]).to_event(1), [OrderedTransform()])
        cuts = pyro.sample("cuts", ordered)
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.OrderedLogistic(b * x, cuts), obs=y)

    x = numbers(9)
    y = torch.arange(9) % 4
    joint = LogJoint(model, (x, y))
    u = at(joint)
    values, _ = joint(u)
    for c in range(3):
        b, cuts = float(u[c, 0]), joint.constrain(u[c])["cuts"].numpy()
        edges = np.concatenate([[-np.inf], cuts, [np.inf]])
        upper, lower = (1 / (1 + np.exp(-(edges[y.numpy() + k] - b * x.numpy()))) for k in (1, 0))
        lp = np.log(upper - lower).sum() + stats.norm.logpdf(u[c].numpy()).sum()
        assert abs(float(values[c]) - lp) < 1e-8


# ------------------------------------------------------------------------------------------------- missing values


def missing(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.NanMaskedNormal(m, 0.5), obs=y)


def test_a_law_for_missing_values_is_given_them():
    y = numbers(10)
    y[[2, 7]] = math.nan
    joint = LogJoint(missing, (y,))
    u = at(joint)
    values, gradients = joint(u)
    seen = y[~y.isnan()]
    for c in range(3):
        m = float(u[c, 0])
        assert abs(float(values[c]) - stats.norm.logpdf(m) - stats.norm.logpdf(seen.numpy(), m, 0.5).sum()) < 1e-9
        assert abs(float(gradients[c, 0]) - (-m + float((seen - m).sum()) / 0.25)) < 1e-9


def test_missing_values_elsewhere_are_refused():
    y = numbers(10)
    y[3] = math.nan

    def masked(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)), poutine.mask(mask=~y.isnan()):
            pyro.sample("y", dist.Normal(m, 0.5), obs=y)

    with pytest.raises(bz.DataError, match=r"a mask hides them from the value, not from the gradient: put any number there"):
        bz.fit(masked, (y,), bz.NUTS(), progress=False)
    posterior = bz.fit(
        lambda y: masked(torch.where(y == 99.0, math.nan, y).nan_to_num()), (y.nan_to_num(99.0),), bz.MAP(steps=5)
    )
    assert "m" in posterior.draws.sites
    net = bz.BNN(bz.nets.MLP(1, 1, hidden=(2,)), bz.priors.Normal(), bz.likelihoods.Gaussian())
    for data in ((y[:, None], y.nan_to_num()), (y[:, None].nan_to_num(), y)):
        with pytest.raises(bz.DataError, match=r"1 NaN or infinite values of 10"):
            bz.fit(net, data, bz.NUTS(), progress=False)


# --------------------------------------------------------------------------------------- laws and rows of their own


class Line(PyroModule):
    """Laws made when the module is, with validation on."""

    def __init__(self):
        super().__init__()
        self.layer = PyroModule[torch.nn.Linear](2, 1)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))

    def forward(self, x, y=None):
        mean = self.layer(x).squeeze(-1)
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(mean, 0.3), obs=y)


def test_pyro_module():
    torch.manual_seed(0)
    model, x, y = Line(), numbers(8, 2).float(), numbers(8, seed=3).float()
    bias = model.layer.bias.item()
    joint = LogJoint(model, (x, y))
    u = at(joint)
    values, _ = joint(u)
    for c in range(3):
        mean = x.numpy() @ u[c].numpy() + bias
        lp = stats.norm.logpdf(u[c].numpy()).sum() + stats.norm.logpdf(y.numpy(), mean, 0.3).sum()
        assert abs(float(values[c]) - lp) < 1e-4


def subsampled(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y), subsample_size=8) as i:
        pyro.sample("y", dist.Normal(m, 1.0), obs=y[i])


def test_plate_that_draws_its_rows():
    """Variational inference draws them anew at each step; samplers would see those of one draw for ever."""
    y = numbers(40) + 1.0
    posterior = bz.fit(subsampled, (y,), bz.MeanField(steps=2_000, draws=1_000, learning_rate=bz.schedules.cosine(0.05)))
    m = posterior.draws.sites["m"]
    exact = float(y.sum()) / 41
    assert abs(float(m.mean()) - exact) < 0.08 and abs(float(m.std()) - 41**-0.5) < 0.03
    for backend in (bz.NUTS(), bz.SGLD(), bz.MAP()):
        with pytest.raises(bz.ModelError, match=r"plate 'rows' draws rows of its own .* drop subsample_size="):
            bz.fit(subsampled, (y,), backend, progress=False)


def test_guide_that_leaves_out_a_site():
    def guide_for(model, init_loc_fn):
        return AutoDelta(poutine.block(model, hide=["b"]), init_loc_fn=init_loc_fn)

    def model(y):
        a, b = (pyro.sample(name, dist.Normal(0.0, 1.0)) for name in "ab")
        pyro.sample("y", dist.Normal(a + b, 1.0), obs=y)

    with pytest.raises(bz.ModelError, match=r"the guide gives no value to the model's sites \['b'\]"):
        bz.fit(model, (numbers(1)[0],), bz.MeanField(steps=5, guide=guide_for), progress=False)


# --------------------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("compile", [False, True])
def test_positions_of_another_dtype(compile):
    """A float64 position into a float32 log joint, compiled or not, is the position rounded."""
    y = numbers(10).float()
    joint = LogJoint(lambda y: missing(y), (y,), compile=compile)
    u = at(joint).double()
    if compile:
        joint.inline(_value)(u.float())
    values, gradients = joint(u)
    assert values.dtype == gradients.dtype == torch.float64
    again, slopes = joint.inline(_value)(u)
    for got, slope in ((values, gradients), (again, slopes)):
        expected = stats.norm.logpdf(u[:, 0].numpy()) + stats.norm.logpdf(y.numpy(), u.numpy(), 0.5).sum(1)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)
        np.testing.assert_allclose(slope[:, 0].numpy(), -u[:, 0].numpy() + (y.numpy() - u.numpy()).sum(1) / 0.25, rtol=1e-4)


def _value(log_joint, u):
    return log_joint(u)


@pytest.mark.parametrize("bad", [torch.zeros(2, 5), torch.zeros(1), torch.zeros(2, 1, dtype=torch.long), [[0.0]]])
def test_what_is_no_position(bad):
    joint = LogJoint(missing, (numbers(10),))
    with pytest.raises(ValueError, match=r"a position must be"):
        joint(bad)


# ----------------------------------------------------------------------------------------------------- BatchNorm


def normalised(layer):
    def model(x, y):
        scale, shift = (pyro.sample(n, dist.Normal(0.0, 1.0).expand([3]).to_event(1)) for n in ("scale", "shift"))
        h = functional_call(layer, {"weight": scale, "bias": shift}, (x,))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(h.sum(1), 1.0), obs=y)

    return model


def test_batchnorm_with_running_statistics_in_a_raw_model():
    layer = torch.nn.BatchNorm1d(3).double().eval()
    layer.running_mean += numbers(3, seed=7)
    x, y = numbers(8, 3), numbers(8, seed=5)
    joint = LogJoint(normalised(layer), (x, y))
    u = at(joint)
    values, gradients = joint(u)
    z = (x - layer.running_mean) / (1.0 + layer.eps) ** 0.5
    for c in range(3):
        scale, shift = u[c, :3], u[c, 3:]
        rest = y - (z * scale + shift).sum(1)
        lp = stats.norm.logpdf(u[c].numpy()).sum() + stats.norm.logpdf(rest.numpy()).sum()
        assert abs(float(values[c]) - lp) < 1e-9
        torch.testing.assert_close(gradients[c, :3], (rest[:, None] * z).sum(0) - scale)
        torch.testing.assert_close(gradients[c, 3:], rest.sum() - shift)


def test_batchnorm_that_looks_at_other_rows():
    for layer in (torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3, track_running_stats=False).eval()):
        with pytest.raises(bz.ModelError, match=r"BatchNorm1d .* depends on the other rows"):
            LogJoint(normalised(layer.double()), (numbers(8, 3), numbers(8)))


# ---------------------------------------------------------------------- mixtures as priors


def parts(*numbers_of_parts):
    return (torch.tensor(n, dtype=torch.float64) for n in numbers_of_parts)


def mixed(law, *arguments):
    return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.3, 0.7], dtype=torch.float64)), law(*parts(*arguments)))


@pytest.mark.parametrize(
    "law, frozen",
    [
        (lambda: mixed(dist.Normal, [-2.0, 1.0], [0.5, 1.0]), (stats.norm(-2, 0.5), stats.norm(1, 1))),
        (lambda: mixed(dist.Gamma, [2.0, 5.0], [1.0, 2.0]), (stats.gamma(2), stats.gamma(5, scale=0.5))),
        (lambda: mixed(dist.Beta, [2.0, 5.0], [1.0, 2.0]), (stats.beta(2, 1), stats.beta(5, 2))),
    ],
    ids=["real", "positive", "unit interval"],
)
def test_a_mixture_is_a_prior_like_others(law, frozen):
    """Its support is that of its parts: torch wraps it in a constraint of its own, for which there is no bijection."""

    def model():
        pyro.sample("a", law())
        pyro.sample("b", law().expand([3]).to_event(1))

    joint = LogJoint(model, (), dtype=torch.float64)
    u = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).reshape(2, 4)
    sites = joint.constrain(u)
    x = torch.cat([sites["a"][:, None], sites["b"]], 1).numpy()
    expected = np.log(0.3 * frozen[0].pdf(x) + 0.7 * frozen[1].pdf(x)).sum(1) + joint.log_jacobian(u).numpy()
    np.testing.assert_allclose(joint(u)[0].numpy(), expected, rtol=1e-10)


def test_a_mixture_whose_parts_have_bounds_of_their_own_is_refused():
    def model():
        pyro.sample("a", mixed(dist.Uniform, [0.0, 1.0], [1.0, 3.0]))

    with pytest.raises(bz.ModelError, match="no bijection from the real line to its support MixtureSameFamilyConstraint"):
        LogJoint(model, ())
