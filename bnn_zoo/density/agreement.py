"""Whether two ways to compute one function agree, up to what rounding explains.

Rounding is measured, not guessed: where two results differ by more than a tolerance, the function is evaluated once more
beside the point, at a distance of some roundings, and what moves there by as much may differ by as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

Values = tuple[Tensor, ...]


class Tolerance(NamedTuple):
    """Relative tolerances: of a log joint in units of the sum of its terms' sizes, of a gradient in its largest entry."""

    value: float
    gradient: float
    nudge: float


def tolerance(dtype: torch.dtype) -> Tolerance:
    return Tolerance(1e-9, 1e-7, 1e-13) if dtype == torch.float64 else Tolerance(3e-5, 1e-3, 1e-6)


def points(position: Tensor, several: bool) -> Iterator[Tensor]:
    """Positions ``[chain, dim]`` at which to compare: the given one and, if ``several``, two that no one chose."""
    yield position
    at = torch.arange(position.numel(), dtype=torch.float64).reshape(position.shape)
    for size in (0.3, 1.0) if several else ():
        yield (size * torch.sin(12.9898 * (at + 1.0) * (1.0 + size))).to(position)


def disagreement(fast: Callable[[Tensor], Values], plain: Callable[[Tensor], Values], at: Tensor) -> str | None:
    """In words, how ``fast(at) = (value [chain], gradient [chain, dim])`` differs from ``plain(at)``, or None.

    ``plain`` gives besides the size of the log joint's terms ``[chain]``. Chains where the plain value is not finite, or
    cannot be computed, say nothing.
    """
    value, gradient, size = plain(at)
    try:
        got, slope = fast(at)
    except torch.linalg.LinAlgError:  # some chain's matrix: the log joint then goes chain by chain
        return None
    limits = tolerance(at.dtype)
    told = torch.isfinite(value) & torch.isfinite(gradient).all(-1)
    off = (got.to(value) - value).abs()
    steep = (slope - gradient).abs().amax(-1)
    largest = gradient.abs().amax(-1)
    bad = told & ~((off <= limits.value * (1.0 + size)) & (steep <= limits.gradient * (1e-3 + largest)))
    if not bool(bad.any()):
        return None
    near, near_gradient, _ = plain(at + limits.nudge * (1.0 + at.abs()))
    off_by_rounding = 10.0 * (near - value).abs().nan_to_num(nan=torch.inf)
    steep_by_rounding = 10.0 * (near_gradient - gradient).abs().amax(-1).nan_to_num(nan=torch.inf)
    bad &= ~(
        (off <= limits.value * (1.0 + size) + off_by_rounding)
        & (steep <= steep_by_rounding + limits.gradient * (1e-3 + largest))
    )
    if not bool(bad.any()):
        return None
    chain = int(bad.int().argmax())
    return (
        f"the log joint of chain {chain} comes out as {float(got[chain]):.6g} instead of {float(value[chain]):.6g}, its "
        f"gradient off by {float(steep[chain]):.2g} of {float(largest[chain]):.3g}"
    )


def close(got: Any, wanted: Any, slack: float = 1e-3) -> bool:
    """Whether tensors agree to ``slack`` of the largest entry; other values must be equal. Infinities and NaN match."""
    if not isinstance(wanted, Tensor):
        return bool(got == wanted) or wanted is None
    got, wanted = got.detach(), wanted.detach()
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    if not wanted.is_floating_point():
        return torch.equal(got, wanted)
    finite = torch.isfinite(wanted)
    scale = float(wanted[finite].abs().max()) if bool(finite.any()) else 0.0
    return torch.allclose(got, wanted, rtol=slack, atol=slack * max(scale, 1e-30), equal_nan=True)


def same_outputs(got: Values, graph: Callable[..., Values], inputs: Values) -> bool:
    """Whether ``got`` is ``graph(*inputs)``, up to what inputs that are off by some roundings would change."""
    wanted = graph(*inputs)
    slack = 1e-7 if inputs[0].dtype == torch.float64 else 1e-3
    if all(close(a, b, slack) for a, b in zip(got, wanted, strict=True)):
        return True
    nudge = tolerance(inputs[0].dtype).nudge
    near = graph(*(t + nudge * (1.0 + t.abs()) if t.is_floating_point() else t for t in inputs))
    return all(_explained(a, b, c, slack) for a, b, c in zip(got, wanted, near, strict=True))


def _explained(got: Tensor, wanted: Tensor, near: Tensor, slack: float) -> bool:
    """Whether an output differs no more than its neighbour does; for choices: whether the neighbour chose otherwise too."""
    if close(got, wanted, slack):
        return True
    if not wanted.is_floating_point() or not bool(torch.isfinite(near - wanted).all()):
        return not torch.equal(near, wanted)
    return float((got - wanted).abs().nan_to_num(nan=torch.inf).max()) <= 100.0 * float((near - wanted).abs().max())
