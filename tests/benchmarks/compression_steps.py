"""Cost of a step of the families that prune against the deterministic step of the same network; CPU time, one thread.

``python tests/benchmarks/compression_steps.py [--rounds 5]``. LeNet-300-100 and LeNet-5-Caffe, batches of 128, alternating:
``torch.optim.SGD`` on the mean loss, and MeanField with local reparameterisation under the models of ``zoo``, as a run of a
million steps has it. Target: 3 deterministic steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import torch
from _common import arguments
from minibatch import BATCH, LOCAL, ROWS, Rows, contest, repeated, sgd, verdict

import bnn_zoo as bz
from bnn_zoo.backends._draws import InMemory
from bnn_zoo.backends._rows import rows_and_density

HORSESHOE = bz.priors.HalfCauchy(bz.priors.HalfCauchy(1e-5))
FAMILIES = {
    "sparse variational dropout": (("molchanov_lenet300100", "molchanov_lenet5"), (), bz.guides.MeanFieldNormal),
    "group normal-Jeffreys": (("louizos_lenet300100", "louizos_lenet5"), (bz.priors.LogUniform(),), bz.guides.ScaledNormal),
    "group horseshoe": (("louizos_lenet300100", "louizos_lenet5"), (HORSESHOE,), bz.guides.ScaledNormal),
}


def family(model: bz.BNN, net: torch.nn.Module, rows: Rows, guide: Any) -> Any:
    pyro.clear_param_store()
    pyro.enable_validation(False)  # as in a run
    settings = bz.MeanField(batch_size=BATCH, handler=LOCAL, steps=10**6, guide=partial(guide, init_scale=0.01))
    log_joint, batches = rows_and_density(model, rows, batch_size=BATCH, chains=1, seed=0, device=None)
    start = log_joint.constrain(bz.density.FromNet(net)(log_joint, 1, torch.Generator().manual_seed(0)))
    run = settings._begun(log_joint, batches, {k: v[0] for k, v in start.items()}, InMemory(1, log_joint, 1), 0, None)
    return repeated(run.advance)


def main() -> None:
    args = arguments(__doc__)
    torch.manual_seed(0)
    rows: Rows = (torch.rand(ROWS, 1, 28, 28), torch.randint(0, 10, (ROWS,)))
    for i, net in enumerate((bz.nets.LeNet300100, bz.nets.LeNet5Caffe)):
        for name, (models, scale, guide) in FAMILIES.items():
            model = getattr(bz.zoo, models[i])(*scale)
            works = {"ours": partial(family, model, net(), rows, guide), "deterministic": partial(sgd, net(), rows)}
            found = contest(f"{name}, {net.__name__}", works, "ours", args.rounds)
            verdict(f"{name}, {net.__name__}: in deterministic steps", 1 / found["deterministic"], 3.0)


if __name__ == "__main__":
    main()
