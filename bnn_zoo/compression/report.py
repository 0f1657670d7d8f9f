"""What compression has gained and lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .files import Parts
from .surgery import architecture


@dataclass(frozen=True)
class Score:
    """On test rows: ``error`` is percent of wrong classes, or the root mean square error; ``nll`` nats a row."""

    error: float
    nll: float


@dataclass(frozen=True)
class Report:
    """nonzero
        share of the original numbers that are left and not zero.
    architecture, architecture_before
        sizes of inputs and hidden layers, channels for convolutions.
    bits
        of a fixed-point number of each layer, or of an index into its table, weights and biases by name.
    rate_pruning
        numbers before over numbers left that are not zero.
    rate_fast
        32 bits a number before, over the bits of the smaller dense network at ``bits``: what needs no decoding.
    rate_max
        32 bits a number before, over the size of the file: that is measured.
    """

    nonzero: float
    architecture_before: str
    architecture: str
    bits: dict[str, int]
    rate_pruning: float
    rate_fast: float
    rate_max: float
    bytes: int
    before: Score | None = None
    after: Score | None = None

    @classmethod
    def of(cls, parts: Parts, before: str, first: Score | None, last: Score | None, size: int) -> Report:
        bits = {n: parts.codes[n].bits(q) for n, q in parts.indices.items()}
        left = sum(int((q != 0).sum()) for q in parts.indices.values())
        dense = sum(bits[n] * q.numel() for n, q in parts.indices.items())
        return cls(
            nonzero=left / parts.original,
            architecture_before=before,
            architecture=architecture(parts.net),
            bits=bits,
            rate_pruning=parts.original / max(left, 1),
            rate_fast=32.0 * parts.original / max(dense, 1),
            rate_max=4.0 * parts.original / size,
            bytes=size,
            before=first,
            after=last,
        )

    def __str__(self) -> str:
        lines = [
            f"architecture   {self.architecture_before} → {self.architecture}",
            f"not zero       {100 * self.nonzero:.2f} % of the numbers",
            f"bits           {', '.join(f'{n} {b}' for n, b in self.bits.items())}",
            f"smaller by     {self.rate_pruning:.0f} × pruned, {self.rate_fast:.0f} × without decoding, "
            f"{self.rate_max:.0f} × on disk ({self.bytes:,} bytes)",
        ]
        if self.before and self.after:
            lines.append(f"error          {self.before.error:.4g} → {self.after.error:.4g}")
            lines.append(f"−log p(y)      {self.before.nll:.4g} → {self.after.nll:.4g} nats a row")
        return "\n".join(lines)


def score(predictor: Any, test: Any) -> Score | None:
    """Of what has ``predict(x)``, on ``test = (x, y)``."""
    if test is None:
        return None
    x, y = (torch.as_tensor(t) for t in test)
    prediction = predictor.predict(x)
    if y.is_floating_point():
        error = float((prediction.mean - y).square().mean().sqrt())
    else:
        error = 100.0 * float((prediction.mean.argmax(-1) != y).double().mean())
    return Score(error, float(-prediction.log_prob(y).mean()))
