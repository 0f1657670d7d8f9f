"""The three networks of R. M. Neal's software for flexible Bayesian modelling (FBM), as plain Pyro models with its priors.

A group of weights is N(0, 1/τ) with one precision τ ~ Gamma(α/2, rate α width²/2), so vague that a draw of it is no place to
start from; see FBM's documentation, "Examples of Bayesian neural network models". Its data files ``rdata``, ``bdata`` and
``cdata`` (copyright 1995-2004 by Radford M. Neal, free for research and education) are looked for in ``fbm/`` of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor


def _precision(name: str, width: float, alpha: float, units: int = 1) -> Tensor:
    """τ ~ Gamma(α/2) of mean ``units / width²``."""
    shape = torch.tensor(alpha / 2)
    return pyro.sample(name, dist.Gamma(shape, shape * width**2 / units))


def _weights(name: str, scale: Tensor | float, *shape: int) -> Tensor:
    return pyro.sample(name, dist.Normal(torch.zeros(shape), scale).to_event(len(shape)))


def _observe(f: Tensor, y: Tensor | None, law: Callable[[Tensor], object], size: int | None) -> None:
    with pyro.plate("data", size or len(f), subsample=f):
        pyro.sample("y", law(f), obs=y)


def _mlp(x: Tensor, inputs: int, hidden: int, outputs: int, scale: Tensor, output_bias: Tensor | float) -> Tensor:
    """tanh layer and linear layer; ``scale`` of the weights from the inputs."""
    bias = _precision("bias_precision", 0.05, 0.5)
    out = _precision("out_precision", 0.05, 0.5, hidden)
    w = _weights("w", scale, inputs, hidden)
    b = _weights("b", bias.rsqrt(), hidden)
    v = _weights("v", out.rsqrt(), hidden, outputs)
    c = _weights("c", output_bias, outputs)
    return torch.tanh(x @ w + b) @ v + c


def regression(x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> None:
    """1-8-1, 25 weights and four precisions."""
    into = _precision("in_precision", 0.05, 0.5)
    noise = _precision("noise_precision", 0.05, 0.5)
    f = _mlp(x, 1, 8, 1, into.rsqrt(), 100.0).squeeze(-1)
    _observe(f, y, lambda f: dist.Normal(f, noise.rsqrt()), size)


def binary(x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> None:
    """2-15-1, logistic."""
    into = _precision("in_precision", 0.05, 0.5)
    f = _mlp(x, 2, 15, 1, into.rsqrt(), 100.0).squeeze(-1)
    _observe(f, y, lambda f: dist.Bernoulli(logits=f), size)


def three_classes(x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> None:
    """4-8-3, softmax, each input with a precision of its own (automatic relevance determination).

    τ ~ Gamma(0.25, mean 4^(2/α₂) / width² with α₂ = 1 as FBM writes ``x0.2:0.5:1``: 16 × 25 = 400).
    """
    mean = _precision("in_precision", 0.2, 0.5, 16)
    each = pyro.sample("each_precision", dist.Gamma(torch.tensor(0.5), 0.5 / mean.expand(4)).to_event(1))
    output_bias = _precision("out_bias_precision", 0.05, 0.5)
    f = _mlp(x, 4, 8, 3, each.rsqrt()[:, None], output_bias.rsqrt())
    _observe(f, y, lambda f: dist.Categorical(logits=f), size)


@dataclass(frozen=True)
class Case:
    """A model, its file, and how many of the file's rows are for training and how many for testing."""

    model: Callable[..., None]
    file: str
    train: int


CASES = {
    "fbm-regression": Case(regression, "rdata", 100),
    "fbm-binary": Case(binary, "bdata", 300),
    "fbm-three-classes": Case(three_classes, "cdata", 400),
}


def load(root: Path, case: Case, dtype: torch.dtype = torch.float32) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """``(x, y)`` of the training rows and of the 1,000 test rows behind them."""
    table = torch.tensor(np.loadtxt(root / "fbm" / case.file), dtype=dtype)
    x, y = table[:, :-1], table[:, -1]
    y = y.long() if case.model is three_classes else y
    test = slice(case.train, case.train + 1000)
    return (x[: case.train], y[: case.train]), (x[test], y[test])
