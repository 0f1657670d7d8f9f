"""What products in bfloat16 save: a gradient of the mean log likelihood of one batch, with and without, in turn.

``python tests/benchmarks/bfloat16.py [--rounds 5]``, on one thread: NIN and the residual network on 64 images of CIFAR-10's
size, SegNet-Basic on 4 of CamVid's. Where the processor has no units for such numbers (AMX, AVX-512 BF16) it may be slower.
"""

from __future__ import annotations

from functools import partial

import torch
from _bfloat16 import Bfloat16
from _common import alternate, arguments, report
from torch.nn import functional as F

import bnn_zoo as bz

NETS = {
    "NIN": (bz.nets.NIN, (64, 3, 32, 32)),
    "ResNetFRN(20)": (lambda: bz.nets.ResNetFRN(20), (64, 3, 32, 32)),
    "SegNetBasic": (bz.nets.SegNetBasic, (4, 3, 90, 120)),
}


def main() -> None:
    args = arguments(__doc__ or "")
    for name, (make, shape) in NETS.items():
        torch.manual_seed(0)
        net, x = make(), torch.randn(shape)
        y = net(x).argmax(1)

        def gradients(module: torch.nn.Module, x: torch.Tensor = x, y: torch.Tensor = y) -> float:
            for _ in range(3):
                module.zero_grad()
                F.cross_entropy(module(x), y).backward()
            return 3.0

        contestants = {"float32": partial(gradients, net), "bfloat16": partial(gradients, Bfloat16(net))}
        alternate(contestants, 1)  # not counted
        print(f"\n{name}, {tuple(shape)}")
        report(alternate(contestants, args.rounds), unit="gradient", ours="bfloat16", peer="float32")


if __name__ == "__main__":
    main()
