"""Random streams: from the one seed that a user gives, a stream for each purpose and each group of chains."""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Any

import numpy as np
import torch

LARGEST = 2**64 - 1


class Use(IntEnum):
    """What a stream is for. Numbers are part of a seed's meaning: add new ones at the end."""

    MOVES = 0
    """Starting points and transitions of chains."""
    ROWS = 1
    """Which rows are in which minibatch, and their augmentation."""
    GUIDE = 2
    """Noise of a variational fit and draws from it."""


def whole_seed(seed: Any) -> int:
    """``seed`` as a Python integer: any integer type will do. Raises TypeError or ValueError, which say what is taken."""
    wanted = "seed must be an integer from 0 to 2**64 - 1"
    if isinstance(seed, bool | np.bool_) or (isinstance(seed, torch.Tensor) and seed.dtype == torch.bool):
        raise TypeError(f"{wanted}, got {seed!r}")
    try:
        whole = operator.index(seed)
    except TypeError:
        raise TypeError(f"{wanted}, got {seed!r}") from None
    if not 0 <= whole <= LARGEST:
        raise ValueError(f"{wanted}, got {whole}: write seed % 2**64")
    return whole


def stream(seed: Any, use: Use, chain: int = 0) -> int:
    """A seed of 64 bits for torch, hashed from all three by numpy's ``SeedSequence``.

    So neighbouring seeds, uses and chains have unrelated streams, where sums such as ``seed + 1`` would make one run's
    noise another run's minibatches. (Torch's generator on a CPU looks at the lower 32 bits.)
    """
    sequence = np.random.SeedSequence(whole_seed(seed), spawn_key=(int(use), chain))
    return int(sequence.generate_state(1, np.uint64)[0])


def generator(device: torch.device | str, seed: Any, use: Use, chain: int = 0) -> torch.Generator:
    """A new generator on ``device`` at the beginning of that stream."""
    return torch.Generator(device).manual_seed(stream(seed, use, chain))
