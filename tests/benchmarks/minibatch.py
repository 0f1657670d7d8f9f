"""Cost of a step of the minibatch backends against plain training, posteriors and TyXe; CPU time, one thread, alternating.

``python tests/benchmarks/minibatch.py [--rounds 5]``. Batches of 128 from 60,000 rows in memory by a random permutation.

- SGLD on LeNet-5: ``torch.optim.SGD`` on the mean loss, and SGLD of posteriors (with its own way: ``torch.func``); target
  1.1 SGD steps, and faster than posteriors.
- 8 chains of SGLD on a 784-100-10 network against one; target 5.
- Mean field with local reparameterisation on LeNet-5 and a 784-400-400-10 network, as a long run does it (``compile=None``
  compiles the wide one, LeNet-5 never) and not compiled, against the deterministic step, and against TyXe with its own
  local reparameterisation and bayesian-torch with flipout, its nearest to that, and with one draw for all rows, which is
  less work; targets 2.5 for LeNet-5, 3 for the wide network, and half of TyXe's. TyXe asks for
  ``pyro.util.deep_getattr``, which Pyro no longer has: it is put back here.
- The floor of that step on the wide network: its matrix products, noise and Adam alone.
- Pyro's autoguides through ``MeanField`` against ``pyro.infer.SVI`` with the same guide and model.
- Memory: resident set after 500 and after 2,500 steps.

Peers that are not installed are left out, and said so.
"""

from __future__ import annotations

import resource
from contextlib import nullcontext
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import pyro
import pyro.infer.autoguide
import torch
from _common import alternate, arguments, report

import bnn_zoo as bz
from bnn_zoo._random import Streams, Use
from bnn_zoo.backends._draws import InMemory
from bnn_zoo.backends._rows import rows_and_density
from bnn_zoo.run import Recorder, Run

BATCH, ROWS, STEPS = 128, 60_000, 20
LOCAL = bz.handlers.LocalReparameterization
Rows = tuple[torch.Tensor, torch.Tensor]


class Batches:
    """Rows of a random permutation, as a training loop takes them."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.order = rows, iter(())

    def __call__(self) -> Rows:
        index = next(self.order, None)
        if index is None:
            self.order = iter(torch.randperm(ROWS).split(BATCH)[:-1])
            index = next(self.order)
        return self.rows[0][index], self.rows[1][index]


def repeated(step: Any) -> Any:
    def work() -> float:
        for _ in range(STEPS):
            step()
        return STEPS

    work()
    return work


def sgld(net: torch.nn.Module, rows: Rows, chains: int = 1) -> Any:
    model = bz.BNN(net, bz.priors.Normal(0.1), bz.likelihoods.Categorical())
    settings = bz.SGLD(chains=chains, batch_size=BATCH, steps=10**6, warmup=0, step_size=1e-7)
    log_joint, batches = rows_and_density(model, rows, batch_size=BATCH, chains=chains, seed=0, device=None)
    random = Streams(0, Use.MOVES, range(chains), log_joint.device, log_joint.dtype)
    program, sink = settings.program(log_joint), Recorder(settings.drawn)
    run = Run(program, log_joint, random, sink, log_joint.device, rows=batches.rows)
    run.begin(settings.init(log_joint, chains, torch.Generator().manual_seed(0)))
    return repeated(run.advance)


def sgd(net: torch.nn.Module, rows: Rows) -> Any:
    optimiser, batch = torch.optim.SGD(net.parameters(), lr=1e-3), Batches(rows)

    def step() -> None:
        x, y = batch()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return repeated(step)


def posteriors_sgld(net: torch.nn.Module, rows: Rows) -> Any:
    import posteriors

    call, batch = lambda params, x: torch.func.functional_call(net, params, (x,)), Batches(rows)

    def log_posterior(params: Any, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = rows
        prior = posteriors.diag_normal_log_prob(params, 0.0, 0.1)
        return -torch.nn.functional.cross_entropy(call(params, x), y) + prior / ROWS, torch.zeros(0)

    transform = posteriors.sgmcmc.sgld.build(log_posterior, lr=1e-3, temperature=1 / ROWS)
    state = transform.init({k: p.detach().clone() for k, p in net.named_parameters()})

    def step() -> None:
        nonlocal state
        state, _ = transform.update(state, batch())

    return repeated(step)


def mean_field(net: torch.nn.Module, rows: Rows, **own: Any) -> Any:
    """Steps of a run of a million, with local reparameterisation if nothing else is said."""
    pyro.clear_param_store()
    pyro.enable_validation(False)  # as in a run
    model = bz.BNN(net, bz.priors.Normal(0.1), bz.likelihoods.Categorical())
    settings = bz.MeanField(**{"batch_size": BATCH, "handler": LOCAL, "steps": 10**6} | own)
    log_joint, batches = rows_and_density(model, rows, batch_size=BATCH, chains=1, seed=0, device=None)
    start = log_joint.constrain(bz.density.FromNet(net)(log_joint, 1, torch.Generator().manual_seed(0)))
    run = settings._begun(log_joint, batches, {k: v[0] for k, v in start.items()}, InMemory(1, log_joint, 1), 0, None)
    return repeated(run.advance)


def floor(rows: Rows) -> Any:
    """Of a step of 784-400-400-10, into memory that is there already: products of rows, weights and slopes for means and
    variances, noise of the hidden layers, softplus with its derivative, and Adam. The rest are KL, activations and calls."""
    widths = [784, 400, 400, 10]
    pairs = [pair for pair in pairwise(widths) for _ in range(2)]
    count = sum(a * b + b for a, b in pairs)
    position, gradient, out = torch.randn(count), torch.randn(count), torch.empty(count // 2)
    adam, batch = torch.optim.Adam([position.requires_grad_()], lr=1e-9, fused=True), Batches(rows)
    position.grad = gradient
    layers = [tuple(torch.randn(shape) for shape in ((BATCH, a), (b, a), (BATCH, b))) for a, b in pairs]
    slopes = [tuple(torch.empty_like(t) for t in layer) for layer in layers]
    below, half = gradient[: count // 2], torch.randn(count // 2)

    def step() -> None:
        batch()
        for i, ((x, w, h), (dx, dw, f)) in enumerate(zip(layers, slopes, strict=True)):
            torch.mm(x, w.t(), out=f)
            torch.mm(h.t(), x, out=dw)
            if i >= 2:
                torch.mm(h, w, out=dx)
            if i % 2:
                f.normal_()
        torch.ops.aten.softplus.out(half, out=out)
        torch.ops.aten.softplus_backward.grad_input(below, half, 1.0, 20.0, grad_input=out)
        adam.step()

    return repeated(step)


def svi(net: torch.nn.Module, rows: Rows, guide: Any) -> Any:
    """Steps of ``pyro.infer.SVI`` on the model that ``mean_field`` has."""
    pyro.clear_param_store()
    pyro.enable_validation(False)
    model = bz.BNN(net, bz.priors.Normal(0.1), bz.likelihoods.Categorical())
    inference = pyro.infer.SVI(model, guide(model), pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    batch = Batches(rows)
    return repeated(lambda: inference.step(*batch(), size=ROWS))


def tyxe_mean_field(net: torch.nn.Module, rows: Rows) -> Any:
    pyro.util.deep_getattr = lambda obj, name: reduce(getattr, name.split("."), obj)
    import tyxe

    prior = tyxe.priors.IIDPrior(pyro.distributions.Normal(0.0, 0.1))
    likelihood = tyxe.likelihoods.Categorical(ROWS)
    bnn = tyxe.VariationalBNN(net, prior, likelihood, tyxe.guides.AutoNormal)
    batch, optimiser = Batches(rows), pyro.optim.Adam({"lr": 1e-3})

    def step() -> None:
        x, y = batch()
        with tyxe.poutine.local_reparameterization():
            bnn.fit([(x, y)], optimiser, 1)

    return repeated(step)


def bayesian_torch_mean_field(net: torch.nn.Module, rows: Rows, layers: str) -> Any:
    """Layers "Reparameterization" draw one weight for all rows, "Flipout" perturb each row with its own signs."""
    from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss

    settings = {"prior_mu": 0.0, "prior_sigma": 0.1, "posterior_mu_init": 0.0, "posterior_rho_init": -3.0}
    dnn_to_bnn(net, settings | {"type": layers, "moped_enable": False, "moped_delta": 0.5})
    optimiser, batch = torch.optim.Adam(net.parameters(), lr=1e-3), Batches(rows)

    def step() -> None:
        x, y = batch()
        loss = torch.nn.functional.cross_entropy(net(x), y) + get_kl_loss(net) / ROWS
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return repeated(step)


def contest(what: str, works: dict[str, Any], ours: str, rounds: int) -> dict[str, float]:
    """CPU time of each contestant over ours, median of rounds."""
    made = {}
    for name, make in works.items():
        try:
            made[name] = make()
        except (ImportError, AttributeError, TypeError, RuntimeError) as error:
            print(f"{what}: {name} is left out: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
    print(f"\n{what}")
    times = alternate(made, rounds)
    return {name: report(times, "step", ours, name) for name in made if name != ours}


def verdict(said: str, value: float, target: float) -> None:
    print(f"-> {said}: {value:.2f}, target {target}: {'met' if value <= target else 'MISSED'}")


def memory(rows: Rows) -> None:
    work = sgld(bz.nets.LeNet5(), rows)
    peak = []
    for count in (25, 100):
        for _ in range(count):
            work()
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"\nmemory: {peak[0]:.0f} MiB at 500 steps of SGLD, {peak[1]:.0f} MiB at 2,500: flat if equal")


def main() -> None:
    args = arguments(__doc__)
    torch.manual_seed(0)
    images: Rows = (torch.rand(ROWS, 1, 28, 28), torch.randint(0, 10, (ROWS,)))
    flat: Rows = (images[0].flatten(1), images[1])
    lenet, small = bz.nets.LeNet5, lambda: bz.nets.MLP(784, 10, hidden=(100,), activation=torch.nn.ReLU)
    big = lambda: bz.nets.MLP(784, 10, hidden=(400, 400), activation=torch.nn.ReLU)
    found = contest(
        "SGLD on LeNet-5",
        {
            "ours": lambda: sgld(lenet(), images),
            "torch SGD": lambda: sgd(lenet(), images),
            "posteriors": lambda: posteriors_sgld(lenet(), images),
        },
        "ours",
        args.rounds,
    )
    verdict("SGLD in SGD steps", 1 / found["torch SGD"], 1.1)
    if "posteriors" in found:
        verdict("SGLD in steps of posteriors", 1 / found["posteriors"], 1.0)
    found = contest(
        "chains of SGLD, 784-100-10",
        {"8 chains": lambda: sgld(small(), flat, 8), "1 chain": lambda: sgld(small(), flat)},
        "8 chains",
        args.rounds,
    )
    verdict("8 chains in steps of one", 1 / found["1 chain"], 5.0)
    for name in ("AutoNormal", "AutoDiagonalNormal"):
        guide = getattr(pyro.infer.autoguide, name)
        own = {"handler": nullcontext, "guide": guide}
        found = contest(
            f"{name}, 784-100-10",
            {
                "ours": partial(mean_field, small(), flat, compile=False, **own),
                "Pyro's SVI": partial(svi, small(), flat, guide),
            },
            "ours",
            args.rounds,
        )
        verdict(f"{name} in steps of Pyro's SVI", 1 / found["Pyro's SVI"], 0.5)
    for what, net, rows, most in (("LeNet-5", lenet, images, 2.5), ("784-400-400-10", big, flat, 3.0)):
        found = contest(
            f"mean field with local reparameterisation, {what}",
            {
                "ours": partial(mean_field, net(), rows),
                "ours, not compiled": partial(mean_field, net(), rows, compile=False),
                "deterministic": partial(sgd, net(), rows),
                **({"floor": partial(floor, rows)} if net is big else {}),
                "TyXe": partial(tyxe_mean_field, net(), rows),
                "bayesian-torch, flipout": partial(bayesian_torch_mean_field, net(), rows, "Flipout"),
                "bayesian-torch, one draw": partial(bayesian_torch_mean_field, net(), rows, "Reparameterization"),
            },
            "ours",
            args.rounds,
        )
        verdict(f"{what}: mean field in deterministic steps", 1 / found["deterministic"], most)
        verdict(f"{what}: the same, not compiled", found["ours, not compiled"] / found["deterministic"], most)
        for peer in [name for name in found if name not in ("deterministic", "ours, not compiled", "floor")]:
            verdict(f"{what}: mean field in steps of {peer}", 1 / found[peer], 0.5)
    memory(images)


if __name__ == "__main__":
    main()
