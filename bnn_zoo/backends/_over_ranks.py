"""Chains over ranks: who has which, and how each comes to have all of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .._ranks import ALONE, Pool, Ranks, Spread
from ..run import Keeper, Lockstep

SELDOM = 10
"""Steps of a minibatch from one question whether to stop to the next: a question costs as much as an all-reduce."""


def groups_of(chains: int, count: int) -> list[range]:
    """The numbers of the chains in each of ``count`` groups, of which the first are larger by one."""
    sizes = [chains // count + (i < chains % count) for i in range(count)]
    ends = list(accumulate(sizes))
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def need_chains(settings: Any, ranks: Spread) -> None:
    """Raise ValueError unless each rank has a chain at least."""
    if settings.chains < ranks.chains.size:
        name, given = type(settings).__name__, ranks.chains.size
        raise ValueError(
            f"{name}: chains={settings.chains} cannot be spread over {given} ranks: set chains={given} or more, start fewer "
            f"ranks, or spread the rows of the data over them, RowsOverRanks({name}(…))"
        )


def pool_of(ranks: Ranks, groups: list[range]) -> Pool:
    """The chains that tune together: those of all ranks; without ranks, each group for itself."""
    return Pool(ranks, tuple(map(len, groups))) if ranks.several else ALONE


def lockstep(ranks: Spread, keeper: Keeper | None, number: int, chains: range, together: int, seldom: int = 1) -> Lockstep:
    """What keeps the part of a run that this rank makes, whose first ``together`` steps all make together, with rows over
    ranks all of them."""
    part = keeper.part(number, chains) if keeper else None
    if ranks.rows.several:
        return Lockstep(ranks.rows, 2**62, part, every=seldom, one=True)
    return Lockstep(ranks.chains, together if ranks.chains.several else 0, part)


def gathered(ranks: Ranks, groups: list[range], sites: Mapping[str, Tensor], part: Any) -> list[Any]:
    """The parts of all ranks, and in ``sites [chain, …]`` the draws of all: each rank gives those of its group."""
    for values in sites.values():
        for source, chains in enumerate(groups):
            ranks.spread(values[chains.start : chains.stop], source)
    return ranks.trees(part)


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """``{name: [chain, step]}`` of groups of chains as that of all, as long as the shortest."""
    lengths = {name: min(part[name].shape[1] for part in parts) for name in parts[0]}
    return {name: torch.cat([part[name][:, :length] for part in parts]) for name, length in lengths.items()}


def same_threads(ranks: Spread, threads: int) -> int:
    """Of ranks that must compute the same bits, the number of threads of the first."""
    return int(ranks.rows.every(torch.tensor([threads]))[0])


def said_of(ranks: Spread) -> dict[str, int]:
    """What a run says of its ranks, if there are several."""
    counts = {"chain_ranks": ranks.chains.size, "row_ranks": ranks.rows.size}
    return {name: count for name, count in counts.items() if count > 1}
