"""``python -m bnn_zoo`` is ``bnn-zoo``: for ``torchrun --nproc-per-node 2 -m bnn_zoo compare …``."""

from .cli import app

app(prog_name="bnn-zoo")
