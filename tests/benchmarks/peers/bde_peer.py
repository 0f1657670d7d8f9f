"""Bayesian deep ensembles of sklearn-contrib-bde on one data file: ``python bde_peer.py SETTINGS DATA``. Run by bde.py.

SETTINGS is a JSON object of BdeRegressor's arguments. The last line printed is a JSON object: mean negative log likelihood
of the test rows under the mixture over members and draws (nats a row, standardised units), RMSE, seconds from the first
call of ``fit`` to the predictions with compilation in them, and the number of draws in the mixture.
"""

from __future__ import annotations

import json
import sys
import time

import jax
import numpy as np
from bde import BdeRegressor
from bde.loss import GaussianNLL


def main() -> None:
    file = np.load(sys.argv[2])
    x, y, x_test, y_test = (file[name].astype(np.float32) for name in ("x", "y", "x_test", "y_test"))
    begin = time.perf_counter()
    peer = BdeRegressor(loss=GaussianNLL(), **json.loads(sys.argv[1]))
    peer.fit(x, y[:, None])
    f = np.asarray(peer.predict(x_test, raw=True)).astype(float)  # [member, draw, n, (mean, raw sd)]
    seconds = time.perf_counter() - begin
    f = f.reshape(-1, *f.shape[2:])
    mean, sd = f[..., 0], np.logaddexp(0.0, f[..., 1]) + 1e-6
    each = -0.5 * ((y_test - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    nll = -(np.logaddexp.reduce(each, 0) - np.log(len(each))).mean()
    rmse = np.sqrt(((mean.mean(0) - y_test) ** 2).mean())
    print(json.dumps({"nll": nll, "rmse": rmse, "seconds": seconds, "draws": len(f), "devices": jax.local_device_count()}))


if __name__ == "__main__":
    main()
