"""The published airfoil figures of microcanonical Langevin ensembles: test NLL −0.913 and RMSE 0.1215, standardised units.

``python tests/benchmarks/airfoil.py --out FOLDER [--network sommer] [--splits 0 1 2 3 4]`` runs what FOLDER lacks and prints
what is there. Networks: "sommer" is ``bz.zoo.sommer_regression``, 5-16-16-2 ReLU with 402 weights (Sommer et al. 2025);
"deep" has four hidden layers of 16 (946 weights): with it the benchmark of sklearn-contrib-bde, by the same authors,
reached the published figures in 240 s on ten cores. N(0, 1) on every weight. Ten members, each started from a network
trained by Adam and sampled by MCLMC. Five random 80/20 splits, standardised with the training rows' statistics alone;
the paper's own code trains on 70 %, stops early on 10 % and tests on 20 %, here all 80 % are sampled on. NLL is that of the
mixture over all draws, in nats a row; seconds are those of ``fit``, compilation and training of the starts included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import uci
from bde import model, small

import bnn_zoo as bz

TARGET = {"nll": -0.91, "rmse": 0.1215}
NETWORKS = {"sommer": bz.zoo.sommer_regression, "deep": lambda: model(5, [16, 16, 16, 16])}


def run(network: str, split: int, members: int, warmup: int, steps: int, thinning: int, variance: float) -> dict[str, Any]:
    """Fit and score one split."""
    table = uci("airfoil", split)
    backend = bz.MCLMC(
        chains=members,
        warmup=warmup,
        draws=steps // thinning,
        thinning=thinning,
        energy_variance=variance,
        init=bz.density.Adam(steps=2000, learning_rate=0.01, init=small),
        compile=True,
    )
    begin = time.perf_counter()
    posterior = bz.fit(NETWORKS[network](), (table.x, table.y), backend, seed=split, progress=False)
    seconds = time.perf_counter() - begin
    prediction = posterior.predict(table.x_test)
    each = prediction.log_likelihood(table.y_test).double()  # [member, draw, row]
    alone = each.logsumexp(1) - math.log(each.shape[1])
    return {
        "network": network,
        "split": split,
        "members": members,
        "warmup": warmup,
        "steps": steps,
        "energy variance": variance,
        "nll": -float(prediction.log_prob(table.y_test).mean()),
        "rmse": float(bz.metrics.rmse(prediction.mean, table.y_test)),
        "nll of one member": -float(alone.mean()),
        "rhat": bz.diagnostics.summarise(prediction.f)["max_rhat"],
        "taken back": posterior.draws.attrs["divergences"],
        "gradients": posterior.draws.attrs["gradients"],
        "seconds": seconds,
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="sommer")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--thinning", type=int, default=50)
    parser.add_argument("--energy-variance", type=float, default=5e-4, help="for each dimension; the paper's falls to 0.1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # doubts: R-hat is a column of the table
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for split in args.splits:
        of = f"{args.network}_{args.members}_{args.warmup}_{args.steps}_{args.energy_variance:g}"
        path = args.out / f"airfoil_{of}_{split}.json"
        if not path.exists():
            row = run(args.network, split, args.members, args.warmup, args.steps, args.thinning, args.energy_variance)
            path.write_text(json.dumps(row))
        rows.append(json.loads(path.read_text()))
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    for name, target in TARGET.items():
        values = np.array([row[name] for row in rows])
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
        verdict = "reached" if values.mean() <= target else f"MISSED by {values.mean() - target:.4f}"
        print(f"{name} {values.mean():.4f} ± {error:.4f} over {len(values)} splits; target {target}: {verdict}")


if __name__ == "__main__":
    main()
