"""Cost of one leapfrog step of one chain: our HMC with 4 chains against Pyro's HMC, on concrete with an 8-50-1 network.

``python tests/benchmarks/leapfrog.py``. Both run the same Pyro model with a fixed step size and number of steps and no
adaptation; rounds alternate. Target: at least 12 times cheaper with the compiled graph. Also printed: the traced graph, and
the time to the first draw.
"""

from __future__ import annotations

import time

import pyro
import torch
from _common import alternate, arguments, concrete, report
from pyro.infer import HMC as PyroHMC

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.density import from_prior
from bnn_zoo.kernels.hmc import Dynamics

CHAINS, STEPS, STEP_SIZE = 4, 32, 1e-3


def ours(model, data, compile: bool):
    """A function that makes ten transitions of all chains, and the seconds to its first draw."""
    begin = time.perf_counter()
    log_joint = bz.LogJoint(model, data, compile=compile)
    generator = torch.Generator(log_joint.device).manual_seed(0)
    kernel = kernels.HMC(trajectory_length=STEPS * STEP_SIZE, jitter=0.0, max_leapfrogs=STEPS)
    position = from_prior(log_joint, CHAINS, generator)
    random = OneStream(generator, like=position)
    state = kernel.init(position, log_joint, random)
    parameters = Dynamics(kernels.Diagonal(torch.ones_like(position)), torch.full_like(state.log_joint, STEP_SIZE))
    box = [kernel.step(log_joint, state, parameters, random)[0]]
    first = time.perf_counter() - begin

    def work() -> float:
        for _ in range(10):
            box[0], info = kernel.step(log_joint, box[0], parameters, random)
        return 10 * CHAINS * float(info.n_steps[0])

    return work, first


def pyro_hmc(model, data):
    """The same for Pyro's kernel, one chain, one transition, driven as ``pyro.infer.MCMC`` does."""
    begin = time.perf_counter()
    pyro.set_rng_seed(0)
    kernel = PyroHMC(model, step_size=STEP_SIZE, num_steps=STEPS, adapt_step_size=False, adapt_mass_matrix=False)
    kernel.setup(0, *data)
    params = kernel.initial_params
    box = [kernel.sample(params)]
    first = time.perf_counter() - begin

    def work() -> float:
        box[0] = kernel.sample(box[0])
        return STEPS

    return work, first


def main() -> None:
    args = arguments(__doc__)
    data = tuple(t.to(args.device) for t in concrete())
    model = bz.BNN(bz.nets.MLP(8, 1, hidden=(50,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    works, firsts = {}, {}
    works["traced"], firsts["traced"] = ours(model, data, compile=False)
    works["compiled"], firsts["compiled"] = ours(model, data, compile=True)
    works["Pyro HMC"], firsts["Pyro HMC"] = pyro_hmc(model, data)
    print("seconds to the first draw:", {name: round(seconds, 2) for name, seconds in firsts.items()})
    times = alternate(works, args.rounds)
    report(times, "chain-leapfrog", "traced", "Pyro HMC")
    ratio = report(times, "chain-leapfrog", "compiled", "Pyro HMC")
    print(f"target 12: {'met' if ratio >= 12 else 'MISSED'}")


if __name__ == "__main__":
    main()
