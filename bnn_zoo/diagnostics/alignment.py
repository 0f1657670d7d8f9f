"""Hidden units of a network in one order and with one sign in all chains, so that single weights can be summarised.

Units of a layer can be swapped without changing the network, and with an odd activation such as tanh each can change its
sign. Chains find different ones of these 2^H H! copies of one mode, so means and R-hat over chains of a single weight say
nothing until the units are matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

SWEEPS = 100
Layers = list[tuple[np.ndarray, np.ndarray]]
"""Of each layer the weights ``[out, in]`` and the biases ``[out]``, zeros where it has none."""


class Aligned(NamedTuple):
    """Weights and biases with units matched; which unit stands where; and which changed sign.

    ``sites``: ``{name: [chain, draw, *shape]}`` of the layers, float64. ``order``, ``signs``: of each hidden layer, by the
    name of its weights, ``[chain, units]``: place i holds the chain's unit ``order[i]``, times ``signs[i]``.
    """

    sites: dict[str, Tensor]
    order: dict[str, Tensor]
    signs: dict[str, Tensor]


def align_units(
    sites: Mapping[str, Any],
    activation: type[nn.Module] | Callable[[Tensor], Tensor],
    *,
    to: Mapping[str, Any] | None = None,
    layers: Sequence[str] | None = None,
) -> Aligned:
    """The chains of a fully connected network with their hidden units matched, each chain by one permutation a layer.

    sites
        ``{name: [chain, draw, *shape]}``: ``posterior.draws.sites``, or a group of InferenceData. Where single draws may
        have swapped units, give each as a chain of its own, ``[chain * draw, 1, *shape]``; that narrows what is summarised.
    activation
        the network's, such as ``nn.Tanh`` or ``torch.relu``. Where it is odd, phi(-a) = -phi(a), signs are matched too.
    to
        one network to match, ``{name: [*shape]}``, such as a point estimate; by default the mean of the first chain.
    layers
        names of the weights from input to output; by default those that an ``MLP`` has, ``"0.weight"``, ``"2.weight"``, …

    With W the mean of a chain's weights and V those to match, permutations and signs make sum_l <V_l, W_l> largest (the
    least squared distance), one layer at a time by ``scipy.optimize.linear_sum_assignment`` until none changes (Ainsworth,
    Hayase and Srinivasa 2023, arXiv:2209.04836, algorithm 1; signs are chosen with the pairs, for flips part into units).
    A copy of V is found exactly; else the optimum is one in each layer and may not be the best of all.

    What the network computes is unchanged. Other sites, such as scales of single weights, are left out: their order would
    be another one. Raises ValueError where the layers do not fit each other.
    """
    names = list(layers) if layers is not None else _found(sites)
    draws = [_of_layer(sites, name) for name in names]
    _check(names, [tuple(w.shape[2:]) for w, _ in draws])
    means = [(w.mean(1).numpy(), b.mean(1).numpy()) for w, b in draws]
    own = [[(w[c], b[c]) for w, b in means] for c in range(len(means[0][0]))]
    goal = own[0] if to is None else _goal(to, names, own[0])
    odd = is_odd(activation)
    found = [_match(goal, chain, odd) for chain in own]
    order = [torch.from_numpy(np.stack([f[0][k] for f in found])) for k in range(len(names))]
    signs = [torch.from_numpy(np.stack([f[1][k] for f in found])) for k in range(len(names))]
    out = {}
    for k, (name, (w, b)) in enumerate(zip(names, draws, strict=True)):
        w, b = _rows(w, order[k], signs[k]), _rows(b, order[k], signs[k])
        out[name] = w if k == 0 else _rows(w.mT, order[k - 1], signs[k - 1]).mT
        if _bias(name) in sites:
            out[_bias(name)] = b
    hidden = range(len(names) - 1)
    return Aligned(out, {names[k]: order[k] for k in hidden}, {names[k]: signs[k] for k in hidden})


def is_odd(activation: type[nn.Module] | Callable[[Tensor], Tensor]) -> bool:
    """Whether phi(-a) = -phi(a), at some numbers from 0 to 4."""
    phi = activation() if isinstance(activation, type) else activation
    a = torch.linspace(0, 4, 33, dtype=torch.float64)
    with torch.no_grad():
        return bool(torch.allclose(phi(-a), -phi(a)))


def _match(goal: Layers, own: Layers, odd: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Order and signs of every layer's units that bring ``own`` next to ``goal``; those of the outputs stay."""
    order = [np.arange(len(w)) for w, _ in own]
    signs = [np.ones(len(w)) for w, _ in own]
    hidden = range(len(own) - 1)
    for k in hidden:  # to begin with by what comes in, from the first layer on
        order[k], signs[k] = _assign(_into(goal, own, order, signs, k), odd)
    for _ in range(SWEEPS):
        before = [(o.copy(), s.copy()) for o, s in zip(order, signs, strict=True)]
        for k in hidden:
            order[k], signs[k] = _assign(_into(goal, own, order, signs, k) + _out_of(goal, own, order, signs, k), odd)
        if all((o == p).all() and (s == t).all() for o, s, (p, t) in zip(order, signs, before, strict=True)):
            break
    return order, signs


def _into(goal: Layers, own: Layers, order: list[np.ndarray], signs: list[np.ndarray], k: int) -> np.ndarray:
    """<weights and bias into unit i of the goal, those into unit j of its own>, inputs matched as they are: ``[i, j]``."""
    (V, c), (W, b) = goal[k], own[k]
    W = W if k == 0 else W[:, order[k - 1]] * signs[k - 1]
    return V @ W.T + np.outer(c, b)


def _out_of(goal: Layers, own: Layers, order: list[np.ndarray], signs: list[np.ndarray], k: int) -> np.ndarray:
    """<weights out of unit i of the goal, those out of unit j of its own>: ``[i, j]``."""
    W = own[k + 1][0][order[k + 1]] * signs[k + 1][:, None]
    return goal[k + 1][0].T @ W


def _assign(gain: np.ndarray, odd: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of each of the goal's units the one whose place it takes, and the sign: the largest sum of gains."""
    i, j = linear_sum_assignment(np.abs(gain) if odd else gain, maximize=True)
    return j, np.where(gain[i, j] < 0, -1.0, 1.0) if odd else np.ones(len(j))


def _rows(x: Tensor, order: Tensor, signs: Tensor) -> Tensor:
    """``x [chain, draw, units, …]`` with units put in order and multiplied by signs, ``[chain, units]``."""
    taken = torch.stack([chain[:, o] for chain, o in zip(x, order, strict=True)])
    return taken * signs.reshape(len(x), 1, -1, *[1] * (x.dim() - 3))


def _bias(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _found(sites: Mapping[str, Any]) -> list[str]:
    names = sorted((n for n in sites if re.fullmatch(r"\d+\.weight", str(n))), key=lambda n: int(n.split(".")[0]))
    if len(names) < 2:
        raise ValueError(
            f"expected weights of two layers or more, '0.weight', '2.weight', …, got sites {list(sites)}; name them, from "
            "input to output, in layers="
        )
    return names


def _of_layer(sites: Mapping[str, Any], name: str) -> tuple[Tensor, Tensor]:
    """Weights ``[chain, draw, out, in]`` and biases ``[chain, draw, out]``, float64."""
    if name not in sites:
        raise ValueError(f"expected a site {name!r}, got {list(sites)}")
    w = _tensor(sites[name])
    b = _tensor(sites[_bias(name)]) if _bias(name) in sites else w.new_zeros(w.shape[:3])
    return w, b


def _goal(to: Mapping[str, Any], names: list[str], like: Layers) -> Layers:
    goal = []
    for name, (w, b) in zip(names, like, strict=True):
        V = _tensor(to[name]).numpy()
        c = _tensor(to[_bias(name)]).numpy() if _bias(name) in to else np.zeros_like(b)
        if V.shape != w.shape or c.shape != b.shape:
            raise ValueError(f"to[{name!r}]: expected one network, {w.shape} and {b.shape}, got {V.shape} and {c.shape}")
        goal.append((V, c))
    return goal


def _tensor(x: Any) -> Tensor:
    x = x[:]  # from disk, if it lies there
    return x.detach().cpu().double() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.float64))


def _check(names: list[str], shapes: list[tuple[int, ...]]) -> None:
    fits = all(len(s) == 2 for s in shapes) and all(a[0] == b[1] for a, b in pairwise(shapes))
    if not fits or len(names) < 2:
        raise ValueError(
            f"expected two or more weight matrices [out, in] whose widths follow each other, got "
            f"{dict(zip(names, shapes, strict=True))}; only fully connected networks without shortcuts have units to match"
        )
