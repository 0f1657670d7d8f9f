"""Against the Bayesian deep ensembles of sklearn-contrib-bde (MILE) on concrete and energy, split 0, at their settings.

``python tests/benchmarks/bde.py --peers PYTHON``, the peers' interpreter (or BNN_ZOO_PEERS). Each contestant runs in a fresh
process with all cores and cold compiler caches, in turn, ``--rounds`` times. Target: no worse NLL in no more wall time.

Their settings, of which the package's default arguments (2 members of [4, 4], 20 epochs, 50 warm-up steps, 10 samples) are a
toy: "benchmark", those of the regression benchmark that they publish, and "readme", those of the README's regression
example, both with 10 members. Everything else is theirs by default: ReLU, N(0, 1) on every weight and bias, an sd head
softplus + 1e-6, Adam with early stopping, energy variance 0.5 falling to 0.1 in the warm-up. A random 85 % of the
training rows train their starting points; all are sampled on. Ours has the same network, prior and likelihood, 10 chains.

NLL: of the mixture over all draws, in nats a row and the data's own units. Seconds: from the call of fit to the predictions,
compilation and warm-up included, imports not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.compile_fx  # imports are nobody's seconds
from _common import uci
from _contest import PEERS, Absent, last_json, launch, need, peers_python, write_data

import bnn_zoo as bz

DATA = ("concrete", "energy")
SETTINGS: dict[str, dict[str, Any]] = {
    "benchmark": {
        "n_members": 10,
        "hidden_layers": [16, 16, 16, 16],
        "epochs": 1200,
        "patience": 20,
        "validation_split": 0.15,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "warmup_steps": 50_000,
        "n_samples": 1000,
        "n_thinning": 10,
    },
    "readme": {
        "n_members": 10,
        "hidden_layers": [16, 16],
        "epochs": 200,
        "patience": 10,
        "validation_split": 0.15,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "warmup_steps": 5_000,
        "n_samples": 2000,
        "n_thinning": 2,
    },
}


def small(log_joint: bz.LogJoint, chains: int, generator: torch.Generator) -> torch.Tensor:
    """A quarter of a draw from the prior: about the size at which networks are usually started."""
    return 0.25 * bz.density.from_prior(log_joint, chains, generator)


START = bz.density.Adam(steps=2000, learning_rate=0.01, init=small)
OURS = {
    "MCLMC": bz.MCLMC(chains=10, warmup=6_000, draws=100, thinning=40, init=START, compile=True),
    "HMC": bz.HMC(chains=10, warmup=300, draws=100, trajectory_length=1.0, compile=True),
    "NUTS": bz.NUTS(chains=10, warmup=300, draws=100, max_tree_depth=8, compile=True),
}
"""A new sampler is one row."""


def model(inputs: int, hidden: list[int]) -> bz.BNN:
    """Their network, prior and likelihood."""
    net = bz.nets.MLP(inputs, 2, hidden=hidden, activation=torch.nn.ReLU)
    return bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.HeteroscedasticGaussian(floor=1e-6))


def ours(name: str, hidden: list[int], data: str, seed: int) -> dict[str, Any]:
    """One run of ours, as bde_peer.py makes one of theirs."""
    warnings.simplefilter("ignore")  # divergences: counted in the result
    file = np.load(data)
    x, y, x_test, y_test = (torch.tensor(file[key]) for key in ("x", "y", "x_test", "y_test"))
    begin = time.perf_counter()
    posterior = bz.fit(model(x.shape[1], hidden), (x, y), OURS[name], seed=seed, progress=False)
    prediction = posterior.predict(x_test)
    log_prob, rmse = prediction.log_prob(y_test), bz.metrics.rmse(prediction.mean, y_test)
    seconds = time.perf_counter() - begin
    draws, stats = posterior.draws, posterior.draws.stats
    return {
        "nll": -float(log_prob.mean()),
        "rmse": float(rmse),
        "seconds": seconds,
        "draws": draws.chains * draws.draws,
        "rhat": bz.diagnostics.summarise(prediction.f)["max_rhat"],
        "gradients": draws.attrs["gradients"],
        "diverging": int(stats["diverging"].sum()) if "diverging" in stats else 0,
    }


def contest(name: str, data: str, settings: dict[str, Any], peer: str, rounds: int) -> bool:
    """Both on one data set, alternating; prints their rows and returns whether ours is no worse and no slower."""
    table, runs = uci(data), dict[str, list[dict[str, Any]]](bde=[], ours=[])
    with tempfile.TemporaryDirectory() as folder:
        path = write_data(table, Path(folder) / "data.npz")
        for i in range(rounds):
            theirs = json.dumps(settings | {"seed": i})
            runs["bde"].append(last_json(launch(peer, PEERS / "bde_peer.py", theirs, path, devices=os.cpu_count() or 1)))
            options = ("--run", name, json.dumps(settings["hidden_layers"]), path, i)
            runs["ours"].append(last_json(launch(sys.executable, Path(__file__).resolve(), *options)))
    print(f"\n{data}, {len(table.x)} training and {len(table.x_test)} test rows, median of {rounds}")
    print(f"{'':12s}{'NLL':>9s}{'RMSE':>9s}{'seconds':>10s}{'draws':>8s}   more")
    middle: dict[str, dict[str, float]] = {}
    for label, each in runs.items():
        middle[label] = {key: float(np.median([run[key] for run in each])) for key in ("nll", "rmse", "seconds")}
        nll, rmse = middle[label]["nll"] + math.log(table.y_scale), middle[label]["rmse"] * table.y_scale
        more = {k: round(v, 3) for k, v in each[0].items() if k not in ("nll", "rmse", "seconds", "draws")}
        said = ", ".join(f"{k} {v}" for k, v in more.items())
        shown = "bde" if label == "bde" else f"ours, {name}"
        print(f"{shown:12s}{nll:9.3f}{rmse:9.3f}{middle[label]['seconds']:10.1f}{each[0]['draws']:8d}   {said}")
    worse = middle["ours"]["nll"] - middle["bde"]["nll"]
    ratio = middle["ours"]["seconds"] / middle["bde"]["seconds"]
    good = worse <= 0.0 and ratio <= 1.0
    print(f"ours - bde: NLL {worse:+.3f}; wall time x {ratio:.2f}: target {'met' if good else 'MISSED'}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--settings", choices=SETTINGS, default="benchmark")
    parser.add_argument("--ours", choices=OURS, default="MCLMC")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", help="the peers' python (default: BNN_ZOO_PEERS, else this one)")
    parser.add_argument("--run", nargs=4, metavar=("NAME", "HIDDEN", "DATA", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        name, hidden, data, seed = args.run
        print(json.dumps(ours(name, json.loads(hidden), data, int(seed))))
        return
    peer, settings = peers_python(args.peers), SETTINGS[args.settings]
    try:
        need(peer, "bde")
    except Absent as absent:
        raise SystemExit(str(absent)) from None
    print(f"torch {torch.__version__}, {os.cpu_count()} cores; sklearn-contrib-bde at {settings}; ours {args.ours}")
    met = [contest(args.ours, data, settings, peer, args.rounds) for data in args.data]
    print(f"\nno worse NLL in no more wall time on {sum(met)} of {len(met)}")


if __name__ == "__main__":
    main()
