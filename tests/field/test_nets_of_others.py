"""Networks as people write them: what a forward pass may do, and that the caller's net is never changed by it."""

import copy
import re
import warnings
from collections import deque
from types import SimpleNamespace

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import bnn_zoo as bz
from bnn_zoo.density import LogJoint

N = 6
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X.sum(1).sin()
ZERO, WIDTH, NOISE = torch.tensor([0.0, 0.7, 0.5], dtype=torch.float64)


def bnn(net, likelihood=None, prior=None):
    return bz.BNN(net, prior or bz.priors.Normal(0.7), likelihood or bz.likelihoods.Gaussian(0.5))


def state(net):
    """Everything of a net that a user can see: values bit by bit, identities, versions, flags and attributes."""
    tensors = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    return {
        "values": {n: t.detach().clone() for n, t in net.state_dict().items()},
        "tensors": [(n, id(t), t._version, t.requires_grad, t.grad) for n, t in tensors],
        "modules": [(n, id(m), m.training, set(m.__dict__)) for n, m in net.named_modules(remove_duplicate=False)],
        "plain": [
            (n, k, v if isinstance(v, int | float | str) else id(v), len(v) if isinstance(v, list | dict | deque) else None)
            for n, m in net.named_modules()
            for k, v in m.__dict__.items()
        ],
    }


def assert_same(before, after):
    assert before["values"].keys() == after["values"].keys()
    assert all(torch.equal(v, after["values"][n]) for n, v in before["values"].items())
    assert {k: v for k, v in before.items() if k != "values"} == {k: v for k, v in after.items() if k != "values"}


class Net(nn.Module):
    """``forward`` is a function ``(self, x)`` of its own."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def used_twice():
    act = nn.PReLU()
    return nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 1))


def block_used_twice():
    block = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    return nn.Sequential(block, block, nn.Linear(3, 1))


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 1))
    net[2].weight = net[0].weight
    return net


def seen_by_the_parent():
    def forward(self, x):
        return nn.functional.linear(torch.tanh(self.inner(x)), self.weight)[:, :1]

    net = Net(forward, inner=nn.Linear(3, 3))
    net.weight = net.inner.weight
    return net


def stores_activations():
    def forward(self, x):
        self.hidden = torch.tanh(self.inner(x))
        self.seen.append(self.hidden)
        self.last["x"] = x
        self.count += 1
        return self.out(self.hidden)

    return Net(forward, inner=nn.Linear(3, 4), out=nn.Linear(4, 1), seen=[], last={}, count=0)


def counter():
    def forward(self, x):
        self.calls += 1
        return self.out(x) * self.calls

    net = Net(forward, out=nn.Linear(3, 1))
    net.register_buffer("calls", torch.tensor(1))
    return net


def lists():
    def forward(self, x):
        for weight in self.weights:
            x = torch.tanh(x @ weight)
        return x @ self.named["out"]

    weights = nn.ParameterList([nn.Parameter(torch.eye(3)), nn.Parameter(torch.eye(3))])
    return Net(forward, weights=weights, named=nn.ParameterDict({"out": nn.Parameter(torch.ones(3, 1))}))


def weight_norm():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))


def spectral_norm():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1)).eval()


def weight_norm_of_all():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4), dim=None), nn.Tanh(), nn.Linear(4, 1))


def weight_norm_of_columns():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4), dim=1), nn.Tanh(), nn.Linear(4, 1))


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and in use
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))


def own_parametrisation():
    class Symmetric(nn.Module):
        def forward(self, w):
            return w.triu() + w.triu(1).mT

    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 1))


def pruned():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    prune.l1_unstructured(net[0], "weight", amount=4)
    return net


def fixed_statistics():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    net[1].running_mean.fill_(0.3), net[1].running_var.fill_(2.0)
    return net.eval()


def with_hook():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    net[0].register_forward_hook(lambda module, args, out: 2 * out)
    return net


def dropout_in_eval():
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 1)).eval()


WORKS = {
    "used_twice": used_twice,
    "block_used_twice": block_used_twice,
    "tied": tied,
    "seen_by_the_parent": seen_by_the_parent,
    "stores_activations": stores_activations,
    "counter": counter,
    "lists": lists,
    "weight_norm": weight_norm,
    "weight_norm_of_all": weight_norm_of_all,
    "weight_norm_of_columns": weight_norm_of_columns,
    "spectral_norm": spectral_norm,
    "old_weight_norm": old_weight_norm,
    "own_parametrisation": own_parametrisation,
    "pruned": pruned,
    "fixed_statistics": fixed_statistics,
    "with_hook": with_hook,
    "dropout_in_eval": dropout_in_eval,
}
SITES = {
    "used_twice": ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias", "4.weight", "4.bias"],
    "block_used_twice": ["0.0.weight", "0.0.bias", "2.weight", "2.bias"],
    "tied": ["0.weight", "0.bias", "2.bias", "3.weight", "3.bias"],
    "seen_by_the_parent": ["weight", "inner.bias"],
    "lists": ["weights.0", "weights.1", "named.out"],
    "pruned": ["0.bias", "0.weight_orig", "2.weight", "2.bias"],
}


@pytest.mark.parametrize("name", WORKS)
def test_log_joint_is_that_of_the_net_itself(name):
    """At points and for each chain: the prior's and likelihood's formula around a copy of the net that holds the weights."""
    torch.manual_seed(1)
    net = WORKS[name]().double()
    before = state(net)
    log_joint = LogJoint(bnn(net), (X, Y))
    names = [s.name for s in log_joint.sites]
    assert names == SITES.get(name, names) and set(names) == {n for n, _ in net.named_parameters()}
    position = 0.5 * torch.randn(3, log_joint.dim, dtype=torch.float64)
    values, gradients = log_joint(position)
    assert_same(before, state(net))
    for u, value, gradient in zip(position, values, gradients, strict=True):
        own = copy.deepcopy(net) if name not in ("old_weight_norm", "pruned") else WORKS[name]().double()
        own.load_state_dict(net.state_dict())
        parameters = dict(own.named_parameters())
        with torch.no_grad():
            for site, part in log_joint._split(u).items():
                parameters[site].copy_(part)
        f = own(X)[:, 0]
        expected = sum(dist.Normal(ZERO, WIDTH).log_prob(p).sum() for p in parameters.values())
        expected = expected + dist.Normal(f, NOISE).log_prob(Y).sum()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-9)
        slopes = torch.autograd.grad(expected, [parameters[n] for n in names])
        torch.testing.assert_close(gradient, torch.cat([s.flatten() for s in slopes]), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["used_twice", "stores_activations", "old_weight_norm"])
def test_fits_and_predictions_leave_the_net_alone(name):
    torch.manual_seed(0)
    net = WORKS[name]()
    x, y = X.float(), Y.float()
    out = net(x).detach()
    before = state(net)  # after that call, which may itself store and count
    for model in (bnn(net), bnn(net, prior=bz.priors.Laplace(1.0))):  # one net in two models
        posterior = bz.fit(model, (x, y), bz.SGLD(chains=2, steps=4, step_size=1e-7), progress=False)
        posterior.predict(x).log_prob(y)
        with pytest.raises(bz.DataError):
            bz.fit(model, (x, y[:, None]), bz.SGLD(chains=2, steps=4, step_size=1e-7), progress=False)
        assert_same(before, state(net))
    assert torch.equal(out, net(x).detach())


@pytest.mark.parametrize("name", WORKS)
def test_an_error_in_the_middle_leaves_the_net_alone(name):
    torch.manual_seed(0)
    net = WORKS[name]()
    net(X.float())
    before = state(net)

    def likelihood(f):
        raise KeyboardInterrupt

    def fails(module, args, output):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bnn(net, likelihood)(X.float(), Y.float())
    assert_same(before, state(net))
    hook = net.register_forward_hook(fails)
    with pytest.raises(KeyboardInterrupt):
        bnn(net)(X.float(), Y.float())
    hook.remove()
    assert_same(before, state(net))


def test_prediction_of_tied_weights():
    """Draws made by hand: both layers compute with the drawn weight."""
    net = tied().double()
    sites = {n: torch.randn(2, 5, *p.shape, dtype=torch.float64) for n, p in net.named_parameters()}
    f = bz.predict.predict(bnn(net), sites, (X,)).f
    for c, d in ((0, 0), (1, 4)):
        w = {n: v[c, d] for n, v in sites.items()}
        hidden = torch.tanh(X @ w["0.weight"].T + w["0.bias"]) @ w["0.weight"].T + w["2.bias"]
        torch.testing.assert_close(f[c, d], (hidden @ w["3.weight"].T + w["3.bias"])[:, 0])


def test_rows_with_fixed_statistics_are_rows_on_their_own():
    """With statistics fixed a row's output is that of the row alone, in training and prediction."""
    net = fixed_statistics().double()
    sites = {n: torch.randn(1, 4, *p.shape, dtype=torch.float64) for n, p in net.named_parameters()}
    whole = bz.predict.predict(bnn(net), sites, (X,)).f
    apart = torch.cat([bz.predict.predict(bnn(net), sites, (X[i : i + 1],)).f for i in range(N)], 2)
    torch.testing.assert_close(whole, apart)


# ------------------------------------------------------------------------------------------ what cannot be: refused in words


def lazy():
    return nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 1))


def spectral_norm_in_training():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1)).train()


def running_mean_of_its_own():
    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        return self.out(x - self.mean)

    net = Net(forward, out=nn.Linear(3, 1))
    net.register_buffer("mean", torch.zeros(3))
    return net


def buffer_made_anew():
    def forward(self, x):
        self.mean = self.mean + 1
        return self.out(x - self.mean)

    net = Net(forward, out=nn.Linear(3, 1))
    net.register_buffer("mean", torch.zeros(3))
    return net


def plain_tensor_written():
    def forward(self, x):
        self.mean += 1
        return self.out(x - self.mean)

    return Net(forward, out=nn.Linear(3, 1), mean=torch.zeros(3))


def clipped_weight():
    def forward(self, x):
        self.out.weight.data.clamp_(-0.1, 0.1)
        return self.out(x)

    return Net(forward, out=nn.Linear(3, 1))


def renormalised_embedding():
    return Net(lambda self, x: self.table(x.abs().long() % 5).sum(1)[:, :1], table=nn.Embedding(5, 2, max_norm=0.1))


def weights_in_a_list():
    weights = [nn.Parameter(torch.ones(3, 1))]
    return Net(lambda self, x: self.out(x) + x @ weights[0], out=nn.Linear(3, 1))


def alias_in_a_list():
    layer = nn.Linear(3, 1)
    alias = [layer.weight]
    return Net(lambda self, x: x @ alias[0].T, out=layer)


def transposed_once():
    layer = nn.Linear(3, 1)
    return Net(lambda self, x: x @ self.turned + self.out.bias, out=layer, turned=layer.weight.T)


def over_the_same_memory():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    net[1].weight.data = net[0].weight.data.T
    return net


def complex_weight():
    return Net(
        lambda self, x: (x.to(torch.complex64) @ self.w).real, w=nn.Parameter(torch.ones(3, 1, dtype=torch.complex64))
    )


def batch_statistics():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1)).eval()


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(3, 1))


def compiled():
    return torch.compile(nn.Linear(3, 1))


def compiled_in_place():
    net = nn.Sequential(nn.Linear(3, 1))
    net[0].compile()
    return net


REFUSED = {
    lazy: r"'0\.weight' has no shape yet: run the net once, net\(x\[:1\]\)",
    spectral_norm_in_training: r"writes to its own '0\.parametrizations\.weight\.0\._u'.*call net\.eval\(\)",
    running_mean_of_its_own: r"writes to its own 'mean', .*call net\.eval\(\)",
    buffer_made_anew: r"writes to its own 'mean', .*compute it as a new tensor",
    plain_tensor_written: r"writes to its own 'mean', .*compute it as a new tensor",
    clipped_weight: r"writes to its own 'out\.weight'",
    renormalised_embedding: r"writes to its own 'table\.weight', .*max_norm=None",
    weights_in_a_list: r"reaches a parameter \(of shape \(3, 1\)\) by another way .*nn\.ParameterList",
    alias_in_a_list: r"reaches a parameter \('out\.weight'\) by another way",
    transposed_once: r"reaches a parameter \('out\.weight'\) by another way",
    over_the_same_memory: r"parameters '[01]\.weight' and '[01]\.weight' share memory.*b\.weight = a\.weight",
    complex_weight: r"'w' is torch\.complex64, .*torch\.complex\(real, imaginary\)",
    batch_statistics: r"layer '1' is BatchNorm1d .*bnn_zoo\.nets\.replace_batchnorm\(net\).*net\.eval\(\)",
    scripted: r"TorchScript",
    lambda: nn.DataParallel(nn.Linear(3, 1)): r"DataParallel: pass what it wraps, net\.module",
    compiled: r"torch\.compile: pass the module without it",
    compiled_in_place: r"layer '0' goes through torch\.compile",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda f: f.__name__)
def test_what_is_no_function_of_its_parameters(make):
    """Refused before anything is touched, at once or when first called, and again at the next call."""
    net = make()
    before = state(net) if make is not lazy else None
    random = torch.get_rng_state()
    for _ in range(2):
        with pytest.raises(bz.ModelError, match=REFUSED[make]):
            bz.fit(bnn(net), (X.float(), Y.float()), bz.MAP(steps=2), progress=False)
    assert torch.equal(random, torch.get_rng_state())
    if before:
        assert_same(before, state(net))


@pytest.mark.parametrize("make", [spectral_norm_in_training, running_mean_of_its_own])
def test_following_the_advice_to_call_eval(make):
    bz.fit(bnn(make().eval()), (X.float(), Y.float()), bz.SGLD(chains=2, steps=3, step_size=1e-7), progress=False)


def test_lazy_layers_after_one_run():
    net = lazy()
    net(X[:1].float())
    bz.fit(bnn(net), (X.float(), Y.float()), bz.MAP(steps=2), progress=False)


def test_a_net_set_to_training_after_the_model_was_made():
    net = fixed_statistics()
    model = bnn(net)
    model(X.float())
    net.train()
    before = state(net)
    with pytest.raises(bz.ModelError, match=r"layer '1' is BatchNorm1d .*net\.eval\(\)"):
        model(X.float())
    assert_same(before, state(net))


# ------------------------------------------------------------------------------------------ what a net and a likelihood give

WRAPS = {
    "tuple": lambda f: (f, f),
    "list": lambda f: [f, f],
    "dict": lambda f: {"logits": f, "loss": None},
    "object": lambda f: SimpleNamespace(logits=f),
}


@pytest.mark.parametrize("kind", WRAPS)
def test_nets_that_give_no_tensor(kind):
    """Refused at the first call with a module to write around it; that module works."""
    net = Net(lambda self, x: WRAPS[kind](self.out(x)), out=nn.Linear(3, 1)).double()
    with pytest.raises(bz.ModelError, match="must give one tensor") as caught:
        bz.fit(bnn(net), (X, Y), bz.MAP(steps=2), progress=False)
    assert re.search(r"got (tuple|list|dict|SimpleNamespace)", str(caught.value))
    scope = {"torch": torch}
    exec(re.sub(r"^    ", "", str(caught.value).split("\n\n", 1)[1], flags=re.M), scope)
    assert torch.equal(scope["Output"](net)(X), net.out(X))
    posterior = bz.fit(bnn(scope["Output"](net)), (X, Y), bz.MAP(steps=2), progress=False)
    assert set(posterior.draws.sites) == {"net.out.weight", "net.out.bias"}


@pytest.mark.parametrize(
    "forward, says",
    [
        (lambda self, x: self.out(x).sum(), r"one row of output a row of x: x has 6, got \(\)"),
        (lambda self, x: self.out(x).squeeze(-1), r"Gaussian expects the network to give \[rows, outputs\] .* got \(6,\)"),
        (lambda self, x: self.out(x)[1:], r"x has 6, got \(5, 1\); keep the rows first"),
        (lambda self, x: (self.out(x) > 0).long(), r"got torch\.int64: write out\.float\(\)"),
    ],
)
def test_nets_that_give_other_shapes(forward, says):
    with pytest.raises(ValueError, match=says):
        bz.fit(bnn(Net(forward, out=nn.Linear(3, 1)).double()), (X, Y), bz.MAP(steps=2), progress=False)


@pytest.mark.parametrize(
    "likelihood, says",
    [
        (lambda f: f, r"the likelihood must give a distribution, got Tensor"),
        (lambda f: torch.distributions.Normal(f[:, 0], 1.0), r"write pyro\.distributions\.Normal"),
        (lambda f: dist.Normal(f, 1.0), r"batch shape \(6,\), got batch shape \(6, 1\) .*\.to_event\(1\)"),
        (lambda f: dist.Normal(f.mean(), 1.0), r"got batch shape \(\) .*\.expand\(f\.shape\[:1\]\)"),
    ],
)
def test_likelihoods_that_give_no_law_of_a_row(likelihood, says):
    with pytest.raises(bz.ModelError, match=says):
        bz.fit(bnn(nn.Linear(3, 1).double(), likelihood), (X, Y), bz.MAP(steps=2), progress=False)


def test_a_prior_that_is_not_of_pyro():
    def prior(name, shape):
        return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(shape), 1.0), len(shape))

    with pytest.raises(bz.ModelError, match=r"site 'weight': the prior .* write pyro\.distributions\.Independent"):
        bnn(nn.Linear(3, 1), prior=prior)(X.float())


# ------------------------------------------------------------------------------------------ a class for each pixel


@pytest.mark.parametrize("places", [(2, 5), (4,)], ids=["image", "sequence"])
def test_a_class_for_each_place(places):
    """Classes lie in dimension 1, as in torch's cross entropy; a row's log likelihood is the sum over its places."""
    conv = nn.Conv2d(2, 3, 1) if len(places) == 2 else nn.Conv1d(2, 3, 1)
    net, x = conv.double(), torch.randn(N, 2, *places, dtype=torch.float64)
    y = torch.randint(0, 3, (N, *places))
    model = bnn(net, bz.likelihoods.Categorical())
    expected = -nn.functional.cross_entropy(net(x), y, reduction="none").flatten(1).sum(1)
    for size in (N, 10 * N):
        held = poutine.condition(model, data=dict(net.named_parameters()))
        trace = poutine.trace(held).get_trace(x, y, size=size)
        trace.compute_log_prob()
        assert trace.nodes["y"]["fn"].batch_shape == (N,)
        torch.testing.assert_close(trace.nodes["y"]["unscaled_log_prob"], expected)
        torch.testing.assert_close(trace.nodes["y"]["log_prob_sum"], size / N * expected.sum())
    sites = {n: p.detach().expand(1, 2, *p.shape) for n, p in net.named_parameters()}
    prediction = bz.predict.predict(model, sites, (x,))
    torch.testing.assert_close(prediction.mean, net(x).softmax(1).movedim(1, -1).detach())
    assert prediction.draws.shape == (1, 2, N, *places)
    torch.testing.assert_close(prediction.log_prob(y), expected.detach())
    with pytest.raises(bz.DataError, match=rf"y must have the shape that the likelihood gives, \({N}, "):
        model(x, y[:, :1])


def test_one_class_for_each_place():
    with pytest.raises(ValueError, match=r"as \[rows, classes, …places\], got \[rows, 1, 2, 2\]"):
        bnn(nn.Conv2d(2, 1, 1), bz.likelihoods.Categorical())(torch.randn(N, 2, 2, 2))
