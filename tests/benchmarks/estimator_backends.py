"""What ``BNNRegressor`` should take where nobody chooses: backends on UCI sets of several sizes, split 0.

``python tests/benchmarks/estimator_backends.py --data concrete kin8nm --backends MCLMC SGHMC`` fits a 50-unit tanh network
with the estimator and prints, on the test rows: RMSE and mean log density in y's own units, the share of y in the 90 %
interval, and gradients, summed over chains. ``--out`` appends the rows to a CSV file,
of which ``docs/results/estimator_backends.csv`` is one.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import uci

import bnn_zoo as bz
from bnn_zoo.estimators import BNNRegressor


def backends(rows: int) -> dict[str, bz.types.Backend]:
    adam = bz.density.Adam()
    return {
        "NUTS": bz.NUTS(chains=4, warmup=300, draws=250, init=adam, max_tree_depth=8, warmup_tree_depth=6),
        "MCLMC": bz.MCLMC(chains=4, warmup=2_000, draws=250, thinning=16, init=adam, energy_variance=1e-4),
        "SGHMC": bz.SGHMC(chains=4, steps=20_000, batch_size=128, step_size=0.01 / rows),
        "SGHMC, 60,000 steps": bz.SGHMC(chains=4, steps=60_000, batch_size=128, step_size=0.01 / rows),
        "SGLD": bz.SGLD(chains=4, steps=20_000, batch_size=128, step_size=0.01 / rows),
        "MeanField": bz.MeanField(
            chains=4, steps=10_000, draws=250, batch_size=256, handler=bz.handlers.LocalReparameterization
        ),
        "DeepEnsemble": bz.DeepEnsemble(chains=10, steps=10_000, batch_size=256),
    }


PRIORS = {
    "fan_in": bz.priors.Normal(bz.priors.fan_in),
    "1": bz.priors.Normal(1.0),
    "learnt": bz.priors.Normal(bz.priors.HalfCauchy(bz.priors.fan_in)),
}


def measured(name: str, backend_name: str, prior: str) -> dict[str, object]:
    table = uci(name)
    x, y, x_test = table.x.double().numpy(), (table.y * table.y_scale + table.y_mean).double().numpy(), table.x_test.double()
    y_test = (table.y_test * table.y_scale + table.y_mean).double().numpy()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = BNNRegressor(prior=PRIORS[prior], backend=backends(len(x))[backend_name]).fit(x, y)
    inside = torch.as_tensor(model.scaler_x_.transform(x_test.numpy()))
    target = model.scaler_y_.transform(y_test[:, None])[:, 0]
    density = model.posterior_.predict(inside).log_prob(target).mean() - np.log(model.scaler_y_.scale_[0])
    low, high = model.predict_interval(x_test.numpy(), 0.9)
    attrs = model.posterior_.draws.attrs
    for warning in said:
        print("  ", str(warning.message)[:200])
    return {
        "data": name,
        "rows": len(x),
        "backend": backend_name,
        "prior": prior,
        "RMSE": round(float(np.sqrt(np.mean((model.predict(x_test.numpy()) - y_test) ** 2))), 4),
        "log density": round(float(density), 4),
        "in the 90 % interval": round(float(np.mean((low <= y_test) & (y_test <= high))), 3),
        "max R-hat of f": round(float(attrs.get("max_rhat_f", np.nan)), 3),
        "gradients": attrs["gradients"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["concrete", "kin8nm", "power"])
    parser.add_argument("--backends", nargs="+", default=["MCLMC", "SGHMC", "MeanField"])
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.data:
        for backend, prior in product(args.backends, args.priors):
            row = pd.DataFrame([measured(name, backend, prior)])
            print(row.to_string(index=False), flush=True)
            if args.out:
                row.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)


if __name__ == "__main__":
    main()
