"""Neal's three networks from the default start with default settings: answers, R-hat and cost of each sampler.

``python tests/benchmarks/neal.py [MCLMC HMC NUTS]`` prints a line for each fit beside the published figures. Data: ``fbm/``
in the folder that ``BNN_ZOO_DATA`` names.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import torch
from _common import SHARED

import bnn_zoo as bz

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fbm

MODELS = {
    "fbm-regression": bz.zoo.neal_regression,
    "fbm-binary": bz.zoo.neal_binary,
    "fbm-three-classes": bz.zoo.neal_classes,
}
PUBLISHED = {"fbm-regression": "0.830 ± 0.022", "fbm-binary": "−0.237 ± 0.017", "fbm-three-classes": "error 0.198 ± 0.013"}


def cpu() -> float:
    """Seconds of CPU of this process and of those that it has forked and that have ended."""
    return sum(
        who.ru_utime + who.ru_stime for who in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samplers", nargs="*", default=["MCLMC", "HMC", "NUTS"])
    parser.add_argument("--networks", nargs="*", default=list(fbm.CASES))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.networks:
        train, (x, y) = fbm.load(Path(os.environ.get("BNN_ZOO_DATA", SHARED)), fbm.CASES[name])
        for sampler in args.samplers:
            begin, before = time.perf_counter(), cpu()
            posterior = bz.fit(MODELS[name](), train, getattr(bz, sampler)(), progress=False)
            seconds, busy = time.perf_counter() - begin, cpu() - before
            prediction = posterior.predict(x)
            log_prob = float(prediction.log_prob(y).mean())
            error = f", error {1 - bz.metrics.accuracy(prediction.mean, y):.3f}" if name != "fbm-regression" else ""
            print(
                f"{name} {sampler}: test log density {log_prob:.3f}{error} (published {PUBLISHED[name]}), largest R-hat of "
                f"f {float(bz.diagnostics.rhat(prediction.f).max()):.3f}, {posterior.draws.attrs['gradients']} gradients, "
                f"{seconds:.0f} s, {busy:.0f} s of CPU. {posterior.draws.attrs['doubts'] or 'No doubts.'}",
                flush=True,
            )
            if name == "fbm-regression":
                at = posterior.predict(torch.tensor([[-3.0], [0.0], [3.0]]))
                rhats = bz.diagnostics.rhat(at.f).tolist()
                print(f"  mean at −3, 0, 3: {at.mean.tolist()} (published −2.10, 1.38, 2.96), R-hat {rhats}")


if __name__ == "__main__":
    main()
