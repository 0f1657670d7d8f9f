"""What a site of a guide contributes to the ELBO: its energy and entropy, in closed form where torch knows them."""

from __future__ import annotations

import math
from typing import Any

from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence


def energy_and_entropy(site: Any, p: Any, own: Tensor | None) -> Tensor:
    """``scale_p E_q[log p] + scale_q H[q]`` of a site of the guide and the model's site of that name."""
    q, value = site["fn"], site["value"]
    try:
        kl = None if own is None else _kl(q, p["fn"], own)
    except NotImplementedError:
        kl = None
    if own is None or kl is None:
        return scaled(p, p["fn"].log_prob(value)) - scaled(site, q.log_prob(value))
    if _one(site["scale"]) and _one(p["scale"]) and site["mask"] is None and p["mask"] is None:
        return -scaled(site, kl)
    return scaled(p, -kl - own) + scaled(site, own)


def scaled(site: Any, value: Any) -> Tensor:
    return scale_and_mask(value, site["scale"], site["mask"]).sum()


def _one(scale: Any) -> bool:
    return isinstance(scale, float | int) and scale == 1


def entropy_of(q: Any) -> Tensor | None:
    try:
        return q.entropy()
    except NotImplementedError:
        return None


def _kl(q: Any, p: Any, entropy: Tensor | None) -> Tensor:
    """KL(q ‖ p). Between normals of one shape as −H[q] − E_q[log p], which shares its terms with the entropy that is there
    already; raises NotImplementedError where it is not known."""
    a, b = (law.base_dist if isinstance(law, Independent) else law for law in (q, p))
    normal = isinstance(a, Normal) and isinstance(b, Normal) and a.batch_shape == b.batch_shape
    if entropy is None or not normal or q.event_shape != p.event_shape:
        return kl_divergence(q, p)
    squares = ((a.loc - b.loc).square() + a.scale.square()) / (2.0 * b.scale.square())
    constant = b.scale.log() + 0.5 * math.log(2.0 * math.pi)
    dims = tuple(range(-len(q.event_shape), 0))
    return squares.sum(dims) + constant.sum(dims) - entropy if dims else squares + constant - entropy
