"""Statistical models as users write them, float64, each with its data: ``MODELS = {model: arguments}``."""

import pyro
import pyro.distributions as dist
import torch

G = torch.Generator().manual_seed(0)
N = 40


def rand(*shape):
    return torch.randn(shape, generator=G, dtype=torch.float64)


ONE, THREE = torch.ones((), dtype=torch.float64), torch.ones(3, dtype=torch.float64)
X, Y, GROUP = rand(N, 3), rand(N), torch.arange(N) % 5
COUNTS, YES = rand(N).abs().mul(3.0).floor(), (rand(N) > 0).double()


def varying_intercepts(group, x, y):
    mu, s = pyro.sample("mu", dist.Normal(0.0 * ONE, 1.0)), pyro.sample("s", dist.HalfCauchy(ONE))
    with pyro.plate("groups", 5):
        a = pyro.sample("a", dist.Normal(mu, s))
    with pyro.plate("rows", N):
        pyro.sample("y", dist.StudentT(4.0, a[group] + x[:, 0], 1.0), obs=y)


def sparse_logistic(x, y):
    w = pyro.sample("w", dist.Laplace(0.0 * THREE, 1.0).to_event(1))
    with pyro.plate("rows", N):
        pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def mixture(y):
    p = pyro.sample("p", dist.Dirichlet(THREE))
    m = pyro.sample("m", dist.Normal(0.0 * THREE, 2.0).to_event(1))
    with pyro.plate("rows", N):
        z = pyro.sample("z", dist.Categorical(p), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(m[z], 1.0), obs=y)


def ordinal(x, y):
    w = pyro.sample("w", dist.Normal(0.0 * THREE, 1.0).to_event(1))
    c = pyro.sample("c", dist.Normal(0.0 * THREE, 1.0).to_event(1))
    cuts = torch.cumsum(torch.cat([c[:1], c[1:].exp()]), 0)
    with pyro.plate("rows", N):
        pyro.sample("y", dist.OrderedLogistic(x @ w, cuts), obs=y.clamp(max=3))


def gaussian_process(x, y):
    length = pyro.sample("length", dist.InverseGamma(5.0 * ONE, 5.0))
    s = pyro.sample("s", dist.HalfNormal(ONE))
    distance = (x[:, None] - x[None]).square().sum(-1)
    kernel = torch.exp(-distance / (2 * length**2)) + (s**2 + 1e-4) * torch.eye(N, dtype=x.dtype)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros_like(y), kernel), obs=y)


def zero_inflated(y):
    gate, u = pyro.sample("gate", dist.Beta(2.0 * ONE, 3.0)), pyro.sample("u", dist.Uniform(-ONE, 2.0))
    with pyro.plate("rows", N):
        pyro.sample("y", dist.ZeroInflatedPoisson(torch.exp(u), gate=gate), obs=y)


def softmax(x, y):
    w = pyro.sample("w", dist.Normal(torch.zeros(3, 4, dtype=x.dtype), 1.0).to_event(2))
    with pyro.plate("rows", N):
        pyro.sample("y", dist.Categorical(logits=torch.relu(x @ w)), obs=y.clamp(max=3).long())


MODELS = {
    varying_intercepts: (GROUP, X, Y),
    sparse_logistic: (X, YES),
    mixture: (Y,),
    ordinal: (X, COUNTS),
    gaussian_process: (X, Y),
    zero_inflated: (COUNTS,),
    softmax: (X, COUNTS),
}
