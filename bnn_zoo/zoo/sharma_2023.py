"""Partly stochastic networks: which layers have to be random."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Gaussian
from ..priors import Normal
from ._layers import Times

LAYERS = ("0", "3", "6", "9")


def sharma_regression(
    stochastic: tuple[bool, bool, bool, bool] = (True, True, True, True), trained: Mapping[str, Tensor] | None = None
) -> BNN:
    """1-50-50-50-1 SiLU network, inputs of layers 2 to 4 over √50, weights N(0, 5251/random weights). Sharma et al. 2023.

    ``stochastic`` says which of the four layers are random; the others keep the values of ``trained``, by the names of this
    network, such as ``{n: v[0, 0] for n, v in fit.draws.sites.items()}`` of a ``MAP`` fit of the whole of it.
    (``handlers.Fixed`` does that for any model; here the prior of the random layers changes with their number.) Noise sd
    0.05; x ``[n, 1]``. Raises ValueError where no layer is random, or one that is not has no values of its shape.
    """
    layers: list[nn.Module] = [nn.Linear(1, 50), nn.SiLU()]
    for outputs in (50, 50, 1):
        layers += [Times(50**-0.5), nn.Linear(50, outputs), nn.SiLU()]
    net = nn.Sequential(*layers[:-1])
    if len(stochastic) != len(LAYERS) or not any(stochastic):
        raise ValueError(f"sharma_regression: stochastic needs four of True and False, not all False; got {stochastic}")
    random = {layer for layer, on in zip(LAYERS, stochastic, strict=True) if on}
    for name, parameter in net.named_parameters():
        if name.split(".")[0] in random:
            continue
        value = (trained or {}).get(name)
        if value is None or value.shape != parameter.shape:
            raise ValueError(
                f"sharma_regression: {name!r} is not random, so it needs a value of shape {tuple(parameter.shape)}, got "
                f"{None if value is None else tuple(value.shape)}: give trained={{n: v[0, 0] for n, v in "
                "fit.draws.sites.items()}, of a MAP fit of sharma_regression()"
            )
        with torch.no_grad():
            parameter.copy_(value)
        parameter.requires_grad_(False)
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return BNN(net, Normal((5251 / count) ** 0.5), Gaussian(0.05))


CARDS = {
    "sharma_regression": Card(
        formula="""
w ~ N(0, 5251/n)                        each weight and bias of the random layers, which have n of the 5,251
y ~ N(net(x; w), 0.05²)                 net: 1-50-50-50-1, SiLU; what enters layers 2, 3 and 4 is divided by √50
""",
        fit="bz.HMC(chains=2, warmup=10, draws=10, max_leapfrogs=3)",
        paper="The authors' NUTS: for each of the 15 choices of random layers 8 chains of 1,000 + 500 draws and trees of "
        "depth up to 15, the other layers held at a trained network. Here: `bz.NUTS(chains=8, warmup=1_000, draws=500)` "
        "on `sharma_regression(stochastic, trained)`.",
        facts=(
            (
                "widths, SiLU, division by √50, noise .05, prior scale √(5251/n), the NUTS settings",
                "MrinankSharma/do_bnns_need_to_be_fully_stochastic, 1D_Regression/notebooks/1d_hmc.ipynb",
            ),
            ("5,251 weights: layers of 100, 2,550, 2,550 and 51", "the same notebook states them"),
        ),
        traps=(
            "The prior of a layer depends on which other layers are random: with the output layer alone its variance is "
            "5251/51.",
            "The division by √50 stands in the network and not in the prior, so weights of the trained network of another "
            "form have to be multiplied by √50 first, as the notebook does.",
        ),
        unchecked="The data, y = sin(4 (x − 4.3)) with noise .05 at 25 + 25 points, are not in the zoo; figures of the "
        "paper are pictures.",
        citation="M. Sharma, S. Farquhar, E. Nalisnick, T. Rainforth. Do Bayesian neural networks need to be fully "
        "stochastic? AISTATS 2023.",
    )
}
