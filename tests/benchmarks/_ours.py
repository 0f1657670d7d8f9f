"""Our contestants of ess.py, and the process that runs one: ``python _ours.py NAME DATA OUT``. A new sampler is one row."""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import torch
import torch._inductor.compile_fx  # imports are nobody's seconds, and JAX's compiler comes with import jax

import bnn_zoo as bz

CONTESTANTS = {
    "NUTS": bz.NUTS(
        chains=4,
        warmup=200,
        draws=1_000,
        target_accept=0.6,
        warmup_tree_depth=6,
        max_tree_depth=8,
        init=bz.density.Adam(),
        mass_matrix=bz.FisherMass(),
        compile=True,
    ),
    "MCLMC": bz.MCLMC(chains=4, warmup=5_000, draws=5_000, thinning=10, init=bz.density.Adam(), compile=True),
    "MCLMC_long": bz.MCLMC(chains=4, warmup=40_000, draws=2_000, thinning=800, init=bz.density.Adam(), compile=True),
}


def model(inputs: int, hidden: int = 50) -> bz.BNN:
    """inputs-hidden-1 tanh network, weights N(0, 1/fan-in), biases N(0, 1), noise sd HalfNormal(1)."""
    return bz.BNN(bz.nets.MLP(inputs, 1, hidden=(hidden,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def note(posterior: bz.Posterior) -> str:
    """What is worth knowing about a run: the means of its statistics."""
    stats = posterior.draws.stats
    said = [f"{float(stats[k].float().mean()):.3g} {k}" for k in ("n_steps", "acceptance_rate", "step_size") if k in stats]
    if "diverging" in stats:
        said.append(f"{int(stats['diverging'].sum())} divergences")
    return ", ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    file = np.load(args.data)
    x, y, x_test = (torch.tensor(file[name]) for name in ("x", "y", "x_test"))
    begin, cpu_begin = time.perf_counter(), cpu()
    chosen = bz.zoo.neal_regression() if "neal" in file.files else model(x.shape[1])
    backend = CONTESTANTS[args.name]
    if "neal" in file.files:  # vague hierarchies: what the library does by default
        backend = type(backend)(compile=True)
    posterior = bz.fit(chosen, (x, y), backend, seed=args.seed, device=args.device, progress=False)
    seconds, used = time.perf_counter() - begin, cpu() - cpu_begin
    attrs, sites = posterior.draws.attrs, posterior.draws.sites
    np.savez(
        args.out,
        f=posterior.predict(x_test).f.numpy(),
        noise=sites["noise"].numpy(),
        seconds=seconds,
        cpu=used,
        compile=attrs.get("compile_time", np.nan),
        warmup=seconds - attrs["sampling_time"],  # compilation in it, where the run does not tell it apart
        gradients=attrs["gradients"],
        tuning_gradients=attrs["tuning_gradients"],
        note=note(posterior),
    )


if __name__ == "__main__":
    main()
