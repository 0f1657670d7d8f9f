"""Several processes, under ``torchrun``: which of them this is, and the few things that they tell each other.

All of it does nothing in one process, which is rank 0 of 1. Ranks call the same functions in the same order: one that
stops calling makes the others wait, until its process ends, which they notice at once.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ._tree import put_together, take_apart

LOCKSTEP, PATIENCE = timedelta(minutes=30), timedelta(days=2)
"""How long a rank waits for the others within a step, and at the end of its own chains for theirs."""


@dataclass(frozen=True)
class Ranks:
    """``size`` processes, of which this is number ``rank``; ``beside`` of them, this one among them, are on this machine.

    A result of ``add`` has the same bits on all ranks: each number is summed in one place and then copied.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    beside: int = 1

    @property
    def several(self) -> bool:
        return self.size > 1

    def place(self, device: torch.device | str | None) -> torch.device | str | None:
        """The device of this rank where one GPU for each is meant by ``"cuda"``."""
        return f"cuda:{self.local}" if self.several and str(device) == "cuda" else device

    def add(self, tensor: Tensor) -> Tensor:
        """Its sum over the ranks, in place."""
        if self.several:
            dist.all_reduce(tensor)
        return tensor

    def every(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, of one shape and dtype."""
        if not self.several:
            return [tensor]
        out = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(out, tensor.contiguous())
        return out

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag whether it is up on some rank."""
        if not self.several:
            return list(flags)
        ups = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(ups, dist.ReduceOp.MAX)
        return [bool(up) for up in ups]

    def wait(self) -> None:
        """Until all ranks have come here."""
        if self.several:
            dist.barrier(_patient(dist.group.WORLD))

    def spread(self, tensor: Tensor, source: int) -> None:
        """Give all ranks the numbers that ``tensor``, on the CPU and contiguous, has on rank ``source``: in place."""
        if self.several:
            dist.broadcast(tensor, source, _patient(dist.group.WORLD))

    def trees(self, tree: Any) -> list[Any]:
        """The trees (``_tree``) of all ranks, their tensors on the CPU. Nothing is pickled."""
        if not self.several:
            return [tree]
        return [self._sent(tree, source) for source in range(self.size)]

    def tree_of_first(self, tree: Any) -> Any:
        """The tree of rank 0; what the others give is not looked at."""
        return self._sent(tree, 0) if self.several else tree

    def _sent(self, tree: Any, source: int) -> Any:
        mine, tensors = self.rank == source, dict[str, Tensor]()
        header = b""
        if mine:
            skeleton, tensors = take_apart(tree)
            kinds = {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()}
            header = json.dumps([skeleton, kinds]).encode()
        length = torch.tensor([len(header)])
        self.spread(length, source)
        text = (
            torch.frombuffer(bytearray(header), dtype=torch.uint8) if mine else torch.empty(int(length), dtype=torch.uint8)
        )
        self.spread(text, source)
        skeleton, kinds = json.loads(bytes(text.numpy()))
        got = {}
        for name, (dtype, shape) in kinds.items():
            got[name] = tensors[name].cpu().contiguous() if mine else torch.empty(shape, dtype=getattr(torch, dtype))
            self.spread(got[name].reshape(-1).view(torch.uint8) if got[name].numel() else got[name], source)
        return put_together(skeleton, got)


ONE = Ranks()


@dataclass(frozen=True)
class Spread:
    """What a run spreads over ranks: its chains, or the rows of its data, of which each rank then has some."""

    chains: Ranks = ONE
    rows: Ranks = ONE

    @property
    def rank(self) -> int:
        return max(self.chains.rank, self.rows.rank)

    @property
    def all(self) -> Ranks:
        return self.chains if self.chains.several else self.rows


UNSPREAD = Spread()


def here() -> Ranks:
    """The ranks among which this process is: those of ``torch.distributed``, or, if nobody has begun that and ``torchrun``
    has started this process, of its environment, by gloo for tensors on a CPU and nccl for those on a GPU.

    Raises RuntimeError where ``torch.distributed`` was begun without a way for tensors on a CPU.
    """
    if not dist.is_available():
        return ONE
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            return ONE
        _begin()
    if dist.get_world_size() == 1:
        return ONE
    if dist.get_backend() == "nccl" and "gloo" not in dist.get_backend_config():
        raise RuntimeError(
            "torch.distributed was begun with nccl alone, which has no way for tensors on a CPU: write "
            "torch.distributed.init_process_group('cpu:gloo,cuda:nccl'), or leave it to bnn_zoo"
        )
    local, beside = (int(os.environ.get(name, other)) for name, other in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    return Ranks(dist.get_rank(), dist.get_world_size(), local, beside)


def _begin() -> None:
    """As ``init_process_group`` does it under torchrun, but each restart has names of its own in the store: torchrun keeps
    the store, and ranks would look for each other at the addresses of those that died (pytorch issue 135712)."""
    gpu = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    store, rank, size = next(dist.rendezvous("env://", timeout=LOCKSTEP))
    store = dist.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LOCKSTEP)


@cache
def _patient(world: Any) -> Any:
    """The same ranks with another patience: for where one waits until another has made all its draws."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


@dataclass(frozen=True)
class Pool:
    """Chains over ranks, ``sizes`` of them on each: what all have in common is computed on each rank alike."""

    ranks: Ranks = ONE
    sizes: tuple[int, ...] = field(default=())

    def every(self, own: Tensor) -> Tensor:
        """Of ``[own chain, …]`` those of all ranks, ``[chain, …]``."""
        if not self.ranks.several:
            return own
        if own.dtype == torch.bool:
            return self.every(own.to(torch.uint8)).bool()
        padded = own.new_zeros(max(self.sizes), *own.shape[1:])
        padded[: len(own)] = own
        return torch.cat([one[:size] for one, size in zip(self.ranks.every(padded), self.sizes, strict=True)])

    def own(self, every: Tensor) -> Tensor:
        """Of ``[chain, …]`` those of this rank."""
        if not self.ranks.several:
            return every
        begin = sum(self.sizes[: self.ranks.rank])
        return every[begin : begin + self.sizes[self.ranks.rank]]

    def any(self, flag: bool) -> bool:
        return self.ranks.any(flag)[0]

    def tree(self, own: Any) -> Any:
        """A tree whose tensors are ``[own chain, …]``, with those of all ranks."""
        if not self.ranks.several:
            return own
        skeleton, tensors = take_apart(own)
        every = {name: self.every(t) for name, t in tensors.items()}
        return put_together(skeleton, every, next(iter(every.values())).device)


ALONE = Pool()
