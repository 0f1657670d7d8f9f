"""Cost of one SGLD step of one chain against a plain ``torch.optim.SGD`` step: LeNet5, batches of 128 MNIST-sized images.

``python tests/benchmarks/sgld_step.py``. Both draw their batch from 60,000 rows in memory by a random permutation, run the
network forward and backward and update 61,706 weights; SGLD adds the prior and the noise. Target: at most 1.3 times.
"""

from __future__ import annotations

import torch
from _common import alternate, arguments, report

import bnn_zoo as bz
from bnn_zoo.backends._rows import rows_and_density
from bnn_zoo.backends.sgld import SGLD, Walk

BATCH, ROWS, STEPS = 128, 60_000, 20


def ours(x, y, compile: bool):
    model = bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(0.1), bz.likelihoods.Categorical())
    settings = SGLD(chains=1, batch_size=BATCH, steps=10**6, step_size=1e-7, compile=compile)
    log_joint, batches = rows_and_density(
        model, (x, y), batch_size=BATCH, chains=1, seed=0, device=x.device, compile=compile
    )
    walk = Walk(settings, log_joint, batches, torch.Generator(x.device).manual_seed(0))

    def work() -> float:
        for i in range(STEPS):
            walk.step(i)
        return STEPS

    work()
    return work


def plain(x, y):
    net = bz.nets.LeNet5().to(x.device)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    order = iter([])

    def work() -> float:
        nonlocal order
        for _ in range(STEPS):
            rows = next(order, None)
            if rows is None:
                order = iter(torch.randperm(ROWS, device=x.device).split(BATCH)[:-1])
                rows = next(order)
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return STEPS

    work()
    return work


def main() -> None:
    args = arguments(__doc__)
    torch.manual_seed(0)
    x = torch.rand(ROWS, 1, 28, 28, device=args.device)
    y = torch.randint(0, 10, (ROWS,), device=args.device)
    works = {"SGLD traced": ours(x, y, False), "SGLD compiled": ours(x, y, True), "torch SGD": plain(x, y)}
    times = alternate(works, args.rounds)
    report(times, "step", "SGLD compiled", "torch SGD")
    ratio = 1.0 / report(times, "step", "SGLD traced", "torch SGD")
    print(f"SGLD step costs {ratio:.2f} SGD steps; target 1.3: {'met' if ratio <= 1.3 else 'MISSED'}")


if __name__ == "__main__":
    main()
