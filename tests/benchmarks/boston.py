"""The SG-MCMC check of Tran et al. on boston: scale-adapted SGHMC over the 20 splits.

``python tests/benchmarks/boston.py [--splits 20]``. ``bz.zoo.tran_uci``: 13-100-1 tanh network, weights N(0, 1/inputs),
biases N(0, 1), noise variance 0.1 in standardised units, batches of 32. Published, over 10 splits: RMSE 3.13 ± 1.06, NLL
2.57 ± 0.30, that of a normal law with mean and variance of the draws ("NLL, normal"); "NLL" is that of the mixture over
draws. In nats a test row and the data's own units; means ± standard deviations over splits.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
from _common import uci

import bnn_zoo as bz

PUBLISHED = {"RMSE": 3.13, "NLL, normal": 2.57, "NLL": None}


def run(split: int) -> dict[str, float]:
    table = uci("boston", split)
    model = bz.zoo.tran_uci(table.x.shape[1])
    rows = len(table.x)
    backend = bz.SGHMC(
        chains=4,
        steps=12_000,
        warmup=4_000,
        thinning=80,
        batch_size=32,
        scale_adapted=True,
        friction=0.05,
        step_size=2
        * 2e-4
        / rows,  # the largest of 1e-4, 2e-4, 5e-4 with a temperature below 1.1 on split 0 (1.03, 1.06, 1.21)
    )
    begin = time.perf_counter()
    posterior = bz.fit(model, (table.x, table.y), backend, seed=split, progress=False)
    seconds = time.perf_counter() - begin
    prediction = posterior.predict(table.x_test)
    variance = prediction.f.flatten(0, 1).var(0, correction=0) + 0.1
    normal = torch.distributions.Normal(prediction.mean, variance.sqrt())
    return {
        "RMSE": bz.metrics.rmse(prediction.mean, table.y_test) * table.y_scale,
        "NLL": math.log(table.y_scale) - float(prediction.log_prob(table.y_test).mean()),
        "NLL, normal": math.log(table.y_scale) - float(normal.log_prob(table.y_test).mean()),
        "rhat": bz.diagnostics.summarise(prediction.f)["max_rhat"],
        "T": float(posterior.draws.stats["kinetic_temperature"].mean()),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for split in range(args.splits):
        rows.append(run(split))
        print(split, {k: round(v, 3) for k, v in rows[-1].items()}, flush=True)
    for name, published in PUBLISHED.items():
        values = np.array([row[name] for row in rows])
        mean, sd = values.mean(), values.std(ddof=1)
        line = f"{name}: {mean:.3f} ± {sd:.3f} (standard error {sd / len(rows) ** 0.5:.3f})"
        if published is not None:
            good = abs(mean - published) <= sd
            line += f"; published {published}: {'within' if good else 'OUTSIDE'} one standard deviation"
        print(line)


if __name__ == "__main__":
    main()
