"""Leapfrogs a second of NumPyro's HMC or NUTS on ess.py's model, by chain method: ``python numpyro_leapfrogs.py DATA``.

Step size fixed, no adaptation. Two runs, of n and 4n transitions, each less the seconds of its compiler: tracing costs both
the same and cancels in the difference. Prints JSON: ``leapfrogs``, ``seconds`` and ``per_second``.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _jax import HIDDEN, Stopwatch, network
from numpyro.infer import HMC, MCMC, NUTS, init_to_sample

STEPS, STEP_SIZE = 32, 1e-3
FIXED = {"step_size": STEP_SIZE, "adapt_step_size": False, "adapt_mass_matrix": False, "init_strategy": init_to_sample}


def kernel(name: str, hidden: int) -> Any:
    """HMC with 32 steps a transition, or NUTS whose trees end at 31."""
    model = partial(network, hidden=hidden)
    if name == "hmc":
        return HMC(model, num_steps=STEPS, trajectory_length=None, **FIXED)
    return NUTS(model, max_tree_depth=5, **FIXED)


def timed(args: argparse.Namespace, x: Any, y: Any, draws: int) -> tuple[float, int]:
    """Seconds of a whole run without its compiler's, and its leapfrogs."""
    mcmc = MCMC(
        kernel(args.kernel, args.hidden),
        num_warmup=0,
        num_samples=draws,
        num_chains=args.chains,
        chain_method=args.chain_method,
        progress_bar=False,
    )
    stopwatch = Stopwatch()
    mcmc.run(jax.random.PRNGKey(0), x, y, extra_fields=("num_steps",))
    jax.block_until_ready(mcmc.get_samples())
    times = stopwatch.read()
    return times["seconds"] - times["compile"], int(mcmc.get_extra_fields()["num_steps"].sum())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--kernel", choices=("hmc", "nuts"), default="hmc")
    parser.add_argument("--chain-method", default="parallel")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    args = parser.parse_args()
    if args.chain_method == "parallel" and jax.local_device_count() < args.chains:
        raise SystemExit(f"parallel needs {args.chains} devices, JAX sees {jax.local_device_count()}: set XLA_FLAGS")
    file = np.load(args.data)
    x, y = jnp.asarray(file["x"]), jnp.asarray(file["y"])
    short, few = timed(args, x, y, args.draws)
    long, many = timed(args, x, y, 4 * args.draws)
    if long <= short:
        raise SystemExit(f"{4 * args.draws} draws took no longer than {args.draws}: a busy machine? raise --draws")
    made = {"leapfrogs": many - few, "seconds": long - short}
    print(json.dumps(made | {"per_second": (many - few) / (long - short)}))


if __name__ == "__main__":
    main()
