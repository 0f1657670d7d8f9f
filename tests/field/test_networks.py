"""Networks of many kinds: the log joint and its gradient, for each chain, against the network itself with its weights set.

The reference shares nothing with the library: a copy of the net whose parameters are overwritten, its forward pass, torch's
log densities and autograd. Where a network cannot be batched over chains the log joint warns that it takes a slower way, and
is right all the same.
"""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import bnn_zoo as bz
from bnn_zoo.density import LogJoint

ROWS, CHAINS, NOISE, PRIOR = 10, 3, 0.5, 0.6


class Then(nn.Module):
    """A body, what is done with it, and a linear output."""

    def __init__(self, body, use, width):
        super().__init__()
        self.body, self.use, self.out = body, use, nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.use(self.body, x))


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 1)

    def forward(self, x):
        h = x + self.first(x).tanh()
        return self.out(torch.cat([h + self.second(h).relu(), x], -1))


class Tied(nn.Module):
    """One weight in two layers, once transposed."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.out = nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 1)
        self.down.weight = self.up.weight

    def forward(self, x):
        return self.out(F.linear(self.down(self.up(x).tanh()), self.up.weight.T))


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 1))])
        self.named = nn.ParameterDict({"shift": nn.Parameter(torch.zeros(1))})

    def forward(self, x):
        return (x @ self.weights[0]).sigmoid() @ self.weights[1] + self.named["shift"]


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.channels, self.norm, self.out = nn.Linear(5, 5), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(20, 1)

    def forward(self, x):
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.out((x + F.gelu(self.channels(x))).reshape(len(x), -1))


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.core, self.out = nn.Parameter(torch.randn(5, 4, 3)), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(torch.einsum("nta,tab->nb", x, self.core).tanh())


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.register_buffer("shift", torch.arange(4.0))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x):
        return self.layer((x - self.shift) / self.count)


class InPlace(nn.Module):
    """Writes into a tensor of its own, and activates in place."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.Linear(4, 3), nn.Linear(6, 1)

    def forward(self, x):
        h = torch.zeros(len(x), 6, dtype=x.dtype)
        h[:, :3] = self.layer(x)
        h[:, 3:] = h[:, :3].clone().relu_()
        h[:, 4] += 1.0
        return self.out(h)


class ReadsItsData(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x) / (1 + int(x.abs().max()))


def frozen():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    net[:3].requires_grad_(False)
    return net


def last(module, x):
    return module(x)[0][:, -1]


def attend(module, x):
    return module(x, x, x)[0].mean(1)


def light(module, x):
    return module(x, x, x, need_weights=False)[0].mean(1)


def flat(module, x):
    return module(x).flatten(1)


def pixels_last(module, x):
    return module(x.to(memory_format=torch.channels_last)).flatten(1)


def embedded():
    return Then(nn.Embedding(5, 3), lambda m, x: m(x).mean(1), 3)


VECTOR, SERIES, CHANNELS, IMAGE = (4,), (5, 4), (4, 6), (2, 6, 6)
NETS = {
    "skips": (Skips, VECTOR),
    "LSTM": (lambda: Then(nn.LSTM(4, 3, batch_first=True), last, 3), SERIES),
    "LSTM of two layers, both ways": (lambda: Then(nn.LSTM(4, 2, 2, batch_first=True, bidirectional=True), last, 4), SERIES),
    "GRU": (lambda: Then(nn.GRU(4, 3, batch_first=True), last, 3), SERIES),
    "RNN": (lambda: Then(nn.RNN(4, 3, batch_first=True), last, 3), SERIES),
    "attention": (lambda: Then(nn.MultiheadAttention(4, 2, batch_first=True), attend, 4), SERIES),
    "fused attention": (lambda: Then(nn.MultiheadAttention(4, 2, batch_first=True), light, 4), SERIES),
    "transformer": (
        lambda: Then(nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True), lambda m, x: m(x).mean(1), 4),
        SERIES,
    ),
    "1-D convolution": (lambda: Then(nn.Conv1d(4, 3, 3), flat, 12), CHANNELS),
    "2-D convolution": (lambda: Then(nn.Conv2d(2, 3, 3), flat, 48), IMAGE),
    "grouped convolution": (lambda: Then(nn.Conv2d(2, 4, 3, groups=2), flat, 64), IMAGE),
    "depthwise convolution": (lambda: Then(nn.Conv2d(2, 2, 3, groups=2, padding=1), flat, 72), IMAGE),
    "transposed convolution": (lambda: Then(nn.ConvTranspose2d(2, 2, 2, stride=2), flat, 288), IMAGE),
    "channels last": (lambda: Then(nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last), pixels_last, 48), IMAGE),
    "pooling and upsampling": (
        lambda: Then(
            nn.Sequential(nn.Conv2d(2, 2, 3), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")), flat, 32
        ),
        IMAGE,
    ),
    "embedding": (embedded, None),
    "GroupNorm": (lambda: Then(nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU()), flat, 64), IMAGE),
    "LayerNorm": (lambda: Then(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ELU()), lambda m, x: m(x), 5), VECTOR),
    "bilinear": (lambda: Then(nn.Bilinear(4, 4, 3), lambda m, x: m(x, x.flip(-1)), 3), VECTOR),
    "tied weights": (Tied, VECTOR),
    "weight norm": (
        lambda: Then(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), lambda m, x: m(x).tanh(), 3),
        VECTOR,
    ),
    "orthogonal": (
        lambda: Then(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4), "weight", "cayley"), lambda m, x: m(x), 4),
        VECTOR,
    ),
    "ParameterList": (Listed, VECTOR),
    "mixer": (Mixer, SERIES),
    "einsum": (Einsum, SERIES),
    "transpose and reshape": (
        lambda: Then(nn.Linear(4, 3), lambda m, x: m(x).transpose(1, 2).reshape(len(x), -1), 15),
        SERIES,
    ),
    "permute and view": (lambda: Then(nn.Linear(4, 4), lambda m, x: m(x).T.contiguous().view(4, len(x)).T, 4), VECTOR),
    "frozen part": (frozen, VECTOR),
    "buffers": (Buffered, VECTOR),
    "writes in place": (InPlace, VECTOR),
    "reads its data": (ReadsItsData, VECTOR),
    "a layer used twice": (lambda: Then(nn.Linear(4, 4), lambda m, x: m(m(x).tanh()), 4), VECTOR),
}


def made(name, dtype):
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = make().to(dtype)
    x = torch.randint(0, 5, (ROWS, 4)) if shape is None else torch.randn(ROWS, *shape, dtype=dtype)
    return net, x, torch.randn(ROWS, dtype=dtype)


def own(net, values, x, y, weight):
    """Log joint of the net itself with these weights, and its gradient by weight."""
    net = copy.deepcopy(net)
    named = {n: p for n, p in net.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(values[name])
    f = net(x).squeeze(-1)
    lp = weight * (-0.5 * ((y - f) / NOISE) ** 2 - math.log(NOISE) - 0.5 * math.log(2 * math.pi)).sum()
    for p in named.values():
        lp = lp + (-0.5 * (p / PRIOR) ** 2 - math.log(PRIOR) - 0.5 * math.log(2 * math.pi)).sum()
    gradients = torch.autograd.grad(lp, list(named.values()), allow_unused=True)
    return lp.detach(), {
        n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), gradients, strict=True)
    }


def agree(joint, net, at, rows, weight):
    values, gradients = joint(at, *rows) if joint.rows_per_chain else joint(at)
    tight = {"rtol": 1e-9, "atol": 1e-9} if at.dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-3}
    for c, u in enumerate(at):
        x, y = (t[c] for t in rows) if joint.rows_per_chain else rows
        value, gradient = own(net, joint.constrain(u), x, y, weight)
        torch.testing.assert_close(values[c], value, **tight)
        parts = gradients[c].split([site.size for site in joint.sites])
        for site, part in zip(joint.sites, parts, strict=True):
            torch.testing.assert_close(part.reshape(site.shape), gradient[site.name], **tight)


SLOWER = {"writes in place", "reads its data"}


@pytest.fixture
def slower_is_allowed(request):
    """Models that torch cannot batch say so once; all others must not warn."""
    with warnings.catch_warnings():
        if request.node.callspec.params["name"] in SLOWER:
            warnings.filterwarnings("ignore", ".*slower, and right", UserWarning)
        yield


DOUBLE = {"transpose and reshape", "tied weights"}
LONG = {
    "LSTM of two layers, both ways",
    "transformer",
    "mixer",
    "GRU",
    "orthogonal",
    "RNN",
    "pooling and upsampling",
    "weight norm",
    "permute and view",
    "fused attention",
    "channels last",
    "skips",
}
KINDS = [(n, dtype) for n in NETS for dtype in (torch.float32, torch.float64)]


def when(name, dtype):
    """Long ones, and in float64 all but those that stand for a kind, are slow."""
    always = name not in LONG and (dtype == torch.float32 or name in DOUBLE)
    return pytest.param(name, dtype, marks=[] if always else pytest.mark.slow, id=f"{name}-{str(dtype)[6:]}")


@pytest.mark.parametrize("name, dtype", [when(*kind) for kind in KINDS])
def test_log_joint_is_that_of_the_network(name, dtype, slower_is_allowed):
    """All rows, as HMC sees them, and rows of each chain's own, as SGLD and MAP do: at five points, for each chain."""
    net, x, y = made(name, dtype)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    model = bz.BNN(net, bz.priors.Normal(PRIOR), bz.likelihoods.Gaussian(NOISE))
    joint = LogJoint(model, (x, y))
    batch = LogJoint(model, (x[:6], y[:6]), {"size": ROWS}, rows_per_chain=True)
    for k in range(5):
        generator = torch.Generator().manual_seed(k)
        at = 0.4 * torch.randn(CHAINS, joint.dim, generator=generator, dtype=dtype)
        agree(joint, net, at, (x, y), 1.0)
        if dtype == torch.float32:
            pick = torch.stack([torch.randperm(ROWS, generator=generator)[:6] for _ in range(CHAINS)])
            agree(batch, net, at, (x[pick], y[pick]), ROWS / 6)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "name",
    [
        "writes in place",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("LSTM", "transformer", "GRU", "channels last", "tied weights")),
    ],
)
def test_variational_and_prediction(name, slower_is_allowed):
    """The ELBO's draws, and predictions at them, are the network's own."""
    net, x, y = made(name, torch.float32)
    model = bz.BNN(net, bz.priors.Normal(PRIOR), bz.likelihoods.Gaussian(NOISE))
    posterior = bz.fit(model, (x, y), bz.MeanField(steps=30, draws=4), progress=False)
    prediction = posterior.predict(x)
    names = [n for n, p in net.named_parameters() if p.requires_grad]
    for k in range(4):
        weights = {n: posterior.draws.sites[n][0, k] for n in names}
        f = functional_call(net, weights, (x,)).squeeze(-1)
        torch.testing.assert_close(prediction.f[0, k], f, rtol=1e-4, atol=1e-4)
    lp, _ = own(net, {n: posterior.draws.sites[n][0, 0] for n in names}, x, y, 1.0)
    torch.testing.assert_close(posterior.draws.stats["lp"][0, 0], lp, rtol=1e-4, atol=1e-2)
