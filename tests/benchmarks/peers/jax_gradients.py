"""Seconds of a leapfrog step of one chain in JAX, by the gradient of NumPyro's potential: ``python jax_gradients.py DATA``.

Nothing but leapfrogs in one compiled loop, vectorised over chains; with several devices, chains are spread over them. What
NumPyro adds around it (trees, adaptation, collecting draws) is left out. Prints one line of JSON for each ``--chains``:
``chains`` and ``seconds`` per chain-leapfrog, the least of three repetitions.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from _jax import network
from numpyro.infer import init_to_sample
from numpyro.infer.util import initialize_model

STEP_SIZE = 1e-4
LENET5 = {"c1": (6, 1, 5, 5), "c2": (16, 6, 5, 5), "d1": (400, 120), "d2": (120, 84), "d3": (84, 10)}


def convolve(x: Any, w: Any, b: Any, padding: int) -> Any:
    out = jax.lax.conv(x, w, (1, 1), "SAME" if padding else "VALID") + b[:, None, None]
    return jax.lax.reduce_window(jax.nn.relu(out), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def lenet5(x: Any, y: Any = None) -> Any:
    """LeNet-5 as ``bnn_zoo.nets.LeNet5``, weights N(0, 1/fan-in), biases N(0, 1). x: ``[n, 1, 28, 28]``, y: ``[n]``."""
    w, b = {}, {}
    for name, shape in LENET5.items():
        outputs, fan_in = (shape[0], int(np.prod(shape[1:]))) if len(shape) == 4 else (shape[1], shape[0])
        w[name] = numpyro.sample(f"{name}_w", dist.Normal(0.0, fan_in**-0.5).expand(shape).to_event(len(shape)))
        b[name] = numpyro.sample(f"{name}_b", dist.Normal(0.0, 1.0).expand([outputs]).to_event(1))
    h = convolve(x, w["c1"], b["c1"], padding=2)
    h = convolve(h, w["c2"], b["c2"], padding=0).reshape(len(x), -1)
    for name in ("d1", "d2"):
        h = jax.nn.relu(h @ w[name] + b[name])
    with numpyro.plate("data", len(x)):
        return numpyro.sample("y", dist.Categorical(logits=h @ w["d3"] + b["d3"]), obs=y)


def leapfrogs(gradient: Any, start: Any, steps: int) -> Any:
    """``steps`` leapfrogs of one chain from rest, unit metric."""

    def step(carry: Any, _: Any) -> Any:
        q, p, g = carry
        p = jax.tree.map(lambda p, g: p - 0.5 * STEP_SIZE * g, p, g)
        q = jax.tree.map(lambda q, p: q + STEP_SIZE * p, q, p)
        g = gradient(q)
        p = jax.tree.map(lambda p, g: p - 0.5 * STEP_SIZE * g, p, g)
        return (q, p, g), None

    rest = jax.tree.map(jnp.zeros_like, start)
    return jax.lax.scan(step, (start, rest, gradient(start)), length=steps)[0]


def seconds(model: Any, data: tuple[Any, Any], chains: int, steps: int) -> float:
    """Per chain-leapfrog; two lengths, so that the start and the dispatch cancel."""
    keys = jax.random.split(jax.random.PRNGKey(0), chains)
    info = initialize_model(keys, model, model_args=data, init_strategy=init_to_sample)
    start, devices = info.param_info.z, min(chains, jax.local_device_count())
    run = partial(leapfrogs, jax.grad(info.potential_fn))
    times = []
    for length in (steps, 3 * steps):
        over = jax.vmap(partial(run, steps=length))
        if devices > 1:
            over, begin = jax.pmap(over), jax.tree.map(lambda z: z.reshape(devices, -1, *z.shape[1:]), start)
        else:
            over, begin = jax.jit(over), start
        jax.block_until_ready(over(begin))
        each = []
        for _ in range(3):
            now = time.perf_counter()
            jax.block_until_ready(over(begin))
            each.append(time.perf_counter() - now)
        times.append(min(each))
    return (times[1] - times[0]) / (2 * steps * chains)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--net", choices=("mlp", "lenet5"), default="mlp")
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--budget", type=int, default=2_000, help="chain-leapfrogs of one repetition")
    args = parser.parse_args()
    file = np.load(args.data)
    data = jnp.asarray(file["x"]), jnp.asarray(file["y"])
    model = lenet5 if args.net == "lenet5" else partial(network, hidden=args.hidden)
    for chains in args.chains:
        steps = max(1, args.budget // chains)
        print(json.dumps({"chains": chains, "seconds": seconds(model, data, chains, steps)}), flush=True)


if __name__ == "__main__":
    main()
