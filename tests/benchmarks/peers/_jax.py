"""What the JAX peers share: the model in NumPyro, seconds spent compiling, and the file of results that ess.py reads."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

HIDDEN = 50


def network(x: Any, y: Any = None, hidden: int = HIDDEN) -> Any:
    """inputs-hidden-1 tanh network, weights N(0, 1/fan-in), biases N(0, 1), noise sd half-normal: ess.py's model.

    A bias has fan-in 1, as in ``bnn_zoo.priors.fan_in``. x: ``[n, d]``; y: ``[n]``, standardised.
    """
    d = x.shape[1]
    w1 = numpyro.sample("w1", dist.Normal(0.0, d**-0.5).expand([d, hidden]).to_event(2))
    b1 = numpyro.sample("b1", dist.Normal(0.0, 1.0).expand([hidden]).to_event(1))
    w2 = numpyro.sample("w2", dist.Normal(0.0, hidden**-0.5).expand([hidden]).to_event(1))
    b2 = numpyro.sample("b2", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("data", len(x)):
        return numpyro.sample("y", dist.Normal(f(x, w1, b1, w2, b2), noise), obs=y)


def neal(x: Any, y: Any = None, hidden: int = 8) -> Any:
    """1-8-1 tanh network of Neal 1996 for FBM's ``rdata``: one precision for each group of weights, as his example has it.

    Precisions Gamma(¼, rate 1/1600), of the output weights rate 1/12800; output bias N(0, 100²). y: ``[n]``.
    """
    scale = lambda name, rate: numpyro.sample(name, dist.Gamma(0.25, rate)) ** -0.5
    into, bias, out = scale("t1", 1 / 1600), scale("t2", 1 / 1600), scale("t3", 1 / 12800)
    w1 = numpyro.sample("w1", dist.Normal(0.0, into).expand([1, hidden]).to_event(2))
    b1 = numpyro.sample("b1", dist.Normal(0.0, bias).expand([hidden]).to_event(1))
    w2 = numpyro.sample("w2", dist.Normal(0.0, out).expand([hidden]).to_event(1))
    b2 = numpyro.sample("b2", dist.Normal(0.0, 100.0))
    noise = numpyro.deterministic("noise", scale("t4", 1 / 1600))
    with numpyro.plate("data", len(x)):
        return numpyro.sample("y", dist.Normal(f(x, w1, b1, w2, b2), noise), obs=y)


def f(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """The network's output ``[n]``."""
    return jnp.tanh(x @ w1 + b1) @ w2 + b2


def functions(x: Any, sites: dict[str, Any]) -> np.ndarray:
    """The network's output at every draw, ``[chain, draw, n]``; sites are ``[chain, draw, *shape]``."""
    one = lambda w1, b1, w2, b2: f(x, w1, b1, w2, b2)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(one)))(sites["w1"], sites["b1"], sites["w2"], sites["b2"]))


class Stopwatch:
    """Seconds of wall time, of CPU time over all threads, and of JAX's compiler, from its making on."""

    def __init__(self) -> None:
        self.compiling = 0.0
        self.wall, self.cpu = time.perf_counter(), _cpu()
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, seconds: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            self.compiling += seconds

    def read(self) -> dict[str, float]:
        """``seconds`` and ``cpu`` so far, and ``compile``, the seconds of XLA in them."""
        return {"seconds": time.perf_counter() - self.wall, "cpu": _cpu() - self.cpu, "compile": self.compiling}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def contest(sample: Callable[..., dict[str, Any]], parser: argparse.ArgumentParser) -> None:
    """Run ``sample(args, x, y, stopwatch)`` on the data file and write what ess.py reads.

    ``sample`` returns ``sites`` (``[chain, draw, *shape]``), ``times`` (a Stopwatch's reading, taken when all draws are
    there, with ``warmup`` seconds), ``gradients``, ``tuning_gradients`` (of single chains, summed) and ``note``.
    """
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if jax.config.jax_enable_x64:
        raise SystemExit("float64 is on: unset JAX_ENABLE_X64, all contestants compute in float32")
    file = np.load(args.data)
    x, y, x_test = (jnp.asarray(file[name], jnp.float32) for name in ("x", "y", "x_test"))
    args.model = neal if "neal" in file.files else network
    made = sample(args, x, y, Stopwatch())
    sites = made.pop("sites")
    times = made.pop("times")
    np.savez(args.out, f=functions(x_test, sites), noise=np.asarray(sites["noise"]), **times, **made)
