"""Leapfrogs a second of our HMC or NUTS, through ``fit``: ``python _our_leapfrogs.py DATA --net mlp --hidden 50``.

Two transitions of warm-up, so that everything is compiled when sampling begins; then HMC with 32 steps a transition, or NUTS
whose trees end at 31 (a step of the usual size would take hundreds). Prints JSON: ``leapfrogs``, those of single chains that
count for a draw, summed; ``seconds`` of sampling; ``per_second``.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np
import torch
from _ours import model

import bnn_zoo as bz

STEPS, STEP_SIZE = 32, 1e-3


def backend(args: argparse.Namespace) -> bz.HMC | bz.NUTS:
    settings: dict[str, Any] = {"chains": args.chains, "warmup": 2, "draws": args.draws, "step_size": STEP_SIZE}
    settings |= {"compile": not args.traced} | ({"processes": args.processes} if args.processes else {})
    if args.kernel == "hmc":
        return bz.HMC(trajectory_length=1e6, max_leapfrogs=STEPS, **settings)
    return bz.NUTS(max_tree_depth=5, **settings)


def lenet5() -> bz.BNN:
    return bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Categorical())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--kernel", choices=("hmc", "nuts"), default="hmc")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=150)
    parser.add_argument("--net", choices=("mlp", "lenet5"), default="mlp")
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--processes", type=int, help="default: the backend's own rule")
    parser.add_argument("--traced", action="store_true", help="the traced graph without torch.compile")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    file = np.load(args.data)
    x, y = torch.tensor(file["x"]), torch.tensor(file["y"])
    net = lenet5() if args.net == "lenet5" else model(x.shape[1], args.hidden)
    draws = bz.fit(net, (x, y), backend(args), device=args.device, progress=False).draws
    made = {"leapfrogs": int(draws.stats["n_steps"].sum()), "seconds": draws.attrs["sampling_time"]}
    print(json.dumps(made | {"per_second": made["leapfrogs"] / made["seconds"]}))


if __name__ == "__main__":
    main()
