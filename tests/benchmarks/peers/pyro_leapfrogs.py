"""Leapfrogs a second of Pyro's NUTS or HMC on ess.py's model: ``python pyro_leapfrogs.py DATA --kernel nuts --seconds 60``.

One process a core, each with one chain and one torch thread. (Pyro's own ``MCMC`` uses one core less than there are, and
runs its chains one after another where there are more chains than that.) Prints JSON: ``leapfrogs`` and ``seconds``, summed
and measured in ``processes`` processes, and ``per_second`` of all together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import HMC, NUTS

import bnn_zoo as bz

STEPS, STEP_SIZE = 32, 1e-3


def kernel(name: str, model: Any) -> Any:
    """NUTS as it comes, adapting; or HMC with a fixed step size, so that all it does is leapfrogs."""
    if name == "nuts":
        return NUTS(model, init_strategy=pyro.infer.autoguide.init_to_sample)
    return HMC(model, step_size=STEP_SIZE, num_steps=STEPS, adapt_step_size=False, adapt_mass_matrix=False)


def chain(job: tuple[str, str, float, int]) -> tuple[int, float]:
    """One chain for so many seconds after its first transition: leapfrogs made, and the seconds they took."""
    path, name, seconds, seed = job
    torch.set_num_threads(1)
    pyro.set_rng_seed(seed)
    file = np.load(path)
    x, y = torch.tensor(file["x"]), torch.tensor(file["y"])
    model = bz.BNN(bz.nets.MLP(x.shape[1], 1, hidden=(50,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    sampler, count = kernel(name, model), 0
    sampler.setup(500, x, y)
    potential = sampler.potential_fn

    def counted(z: Any) -> Any:
        nonlocal count
        count += 1
        return potential(z)

    sampler.potential_fn = counted
    params = sampler.sample(sampler.initial_params)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        params = sampler.sample(params)
    return count, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--kernel", choices=("nuts", "hmc"), default="nuts")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    jobs = [(args.data, args.kernel, args.seconds, args.seed + i) for i in range(args.processes)]
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        made = pool.map(chain, jobs, chunksize=1)
    total = {"leapfrogs": sum(n for n, _ in made), "seconds": float(np.mean([t for _, t in made]))}
    print(json.dumps(total | {"processes": args.processes, "per_second": sum(n / t for n, t in made)}))


if __name__ == "__main__":
    main()
