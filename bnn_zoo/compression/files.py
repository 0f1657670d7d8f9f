"""A compressed network as bytes, and back: layers, steps or tables, and whole numbers, all through one range coder.

``BNZ`` and the number of the format, the coded body, its CRC-32. No code is in it and none is run when it is read: layers
are numbers of the table ``KINDS``.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..nets import FilterResponseNorm
from ..nets._layers import MeanOverPlaces
from ..types import DataError
from .chain import POINTWISE, POOLS, WEIGHTED, Select
from .coding import Coder, Decoder, Encoder, integers, number
from .quantise import BITS, Grid, Table

MAGIC = b"BNZ\x01"
KINDS: tuple[type[nn.Module], ...] = (
    *WEIGHTED,
    *POOLS,
    nn.Flatten,
    MeanOverPlaces,
    FilterResponseNorm,
    nn.GroupNorm,
    Select,
    *POINTWISE,
)
"""The order is that of the format: append only."""
LARGEST = 2**31


@dataclass
class Parts:
    """What a file holds. ``codes`` and ``indices`` by the parameters' names in ``net``; indices are ``[member, *shape]``."""

    net: nn.Sequential
    codes: dict[str, Grid | Table]
    indices: dict[str, Tensor]
    spread: dict[str, Tensor]
    """sd of each unit's weights in quarters of octaves, ``round(4 log₂ sd)`` ``[out]``; empty where none is kept."""
    sites: dict[str, Tensor]
    """Draws of the model's other sites, such as the noise, ``[member, *shape]`` float32."""
    original: int
    """Numbers of the network before."""


def to_bytes(parts: Parts) -> bytes:
    coder = Encoder()
    _parts(coder, parts)
    body = MAGIC + coder.bytes()
    return body + struct.pack("<I", zlib.crc32(body))


def from_bytes(given: bytes) -> Parts:
    """Raises DataError for bytes that are no such file, are damaged or end too early."""
    if given[:3] != MAGIC[:3]:
        raise DataError("this is no compressed network: the file does not begin with BNZ")
    if given[:4] != MAGIC:
        raise DataError(f"the compressed network has format {given[3] if len(given) > 3 else '?'}, known here is {MAGIC[3]}")
    body, end = given[:-4], given[-4:]
    if len(given) < 9 or struct.pack("<I", zlib.crc32(body)) != end:
        raise DataError("the compressed network is damaged or cut off: its checksum is another")
    try:
        return _parts(Decoder(body[len(MAGIC) :]), None)
    except (IndexError, ValueError, OverflowError, RuntimeError) as error:
        raise DataError(f"the compressed network is damaged: {error}") from error


# One function for both ways: an encoder writes what it is given, a decoder ignores that and gives what it reads.


def _parts(coder: Coder, given: Parts | None) -> Parts:
    net = _net(coder, None if given is None else given.net)
    members = number(coder, "members", 0 if given is None else len(next(iter(given.indices.values()))))
    tables: list[Table] = []
    codes: dict[str, Grid | Table] = {}
    indices: dict[str, Tensor] = {}
    spread: dict[str, Tensor] = {}
    spreads = coder.bit("spread", int(given is not None and bool(given.spread)))
    for at, (name, p) in enumerate(net.named_parameters()):
        codes[name] = _code(coder, None if given is None else given.codes[name], tables)
        rows = p.shape[0] if p.dim() > 1 else 1
        flat = torch.zeros(p.numel() * members, dtype=torch.long) if given is None else given.indices[name]
        read = integers(coder, at, flat.reshape(members * rows, -1).numpy())
        indices[name] = torch.from_numpy(read).reshape(members, *p.shape)
        if spreads:
            own = torch.zeros(len(p), dtype=torch.long) if given is None else given.spread[name]
            level = _whole(coder, "spread level", int(own.double().mean().round()) if len(own) else 0)
            spread[name] = torch.from_numpy(integers(coder, "spread of", (own - level)[None].numpy()))[0] + level
    sites = {} if given is None else given.sites
    found: dict[str, Tensor] = {}
    for i in range(number(coder, "sites", len(sites))):
        name, value = list(sites.items())[i] if sites else ("", torch.empty(0))
        name = "".join(chr(_bits(coder, ord(c), 21)) for c in name.ljust(number(coder, "name", len(name))))
        shape = [number(coder, "size", value.shape[k] if sites else 0) for k in range(number(coder, "dims", value.dim()))]
        numbers = value.flatten().tolist() if sites else [0.0] * math.prod(shape)
        found[name] = torch.tensor([_float(coder, v) for v in numbers]).reshape(shape)
    return Parts(net, codes, indices, spread, found, number(coder, "original", 0 if given is None else given.original))


def _net(coder: Coder, net: nn.Sequential | None) -> nn.Sequential:
    layers = [] if net is None else list(net.children())
    count = number(coder, "layers", len(layers))
    return nn.Sequential(*(_layer(coder, layers[i] if layers else None) for i in range(count))).eval()


def _layer(coder: Coder, layer: nn.Module | None) -> nn.Module:
    kind = KINDS[number(coder, "kind", 0 if layer is None else KINDS.index(type(layer)))]
    given: Any = layer

    def say(*names: str) -> list[int]:
        return [number(coder, name, int(getattr(given, name)) if given is not None else 0) for name in names]

    def pair(name: str, dims: int) -> tuple[int, ...]:
        value = getattr(given, name) if given is not None else 0
        values = value if isinstance(value, tuple) else (value,) * dims
        same = coder.bit("same", int(len(set(values)) == 1))
        said = [number(coder, name, values[i]) for i in range(1 if same else dims)]
        return tuple(said * dims if same else said)

    if kind is nn.Linear:
        inputs, outputs = _sized(say("in_features", "out_features"))
        return nn.Linear(inputs, outputs)
    if issubclass(kind, nn.Conv1d | nn.Conv2d):
        dims = 1 if kind is nn.Conv1d else 2
        sizes = _sized(say("in_channels", "out_channels"))
        settings: dict[str, Any] = {n: pair(n, dims) for n in ("kernel_size", "stride", "padding", "dilation")}
        _sized([*sizes, *settings["kernel_size"]])
        made: nn.Module = cast(Any, kind)(*sizes, **settings)
        return made
    if kind in POOLS:
        dims, average = (1 if kind in (nn.MaxPool1d, nn.AvgPool1d) else 2), kind in (nn.AvgPool1d, nn.AvgPool2d)
        settings = {n: pair(n, dims) for n in ("kernel_size", "stride", "padding", *([] if average else ["dilation"]))}
        flags = {n: bool(v) for n, v in zip(("ceil_mode",), say("ceil_mode"), strict=True)}
        flags |= {"count_include_pad": bool(say("count_include_pad")[0])} if average else {}
        return kind(**settings, **flags)
    if kind is FilterResponseNorm:
        channels = number(coder, "channels", 0 if given is None else len(given.weight))
        return FilterResponseNorm(_sized([channels])[0], _float(coder, 0.0 if given is None else given.eps))
    if kind is nn.GroupNorm:
        groups, channels, affine = say("num_groups", "num_channels", "affine")
        return nn.GroupNorm(groups, _sized([channels])[0], _float(coder, 0.0 if given is None else given.eps), bool(affine))
    if kind is Select:
        size = _sized(say("size"))[0]
        chosen = np.zeros(size, np.int64)
        if given is not None:
            chosen[given.indices.numpy()] = 1
        side = math.isqrt(size) if math.isqrt(size) ** 2 == size else 1  # pixels beside each other go together
        return Select(
            torch.from_numpy(integers(coder, "select", chosen.reshape(side, -1)).flatten()).nonzero().flatten(), size
        )
    return kind()


def _sized(sizes: list[int]) -> list[int]:
    if math.prod(sizes) > LARGEST or min(sizes) < 1:
        raise DataError(f"the compressed network is damaged: a layer of {sizes}")
    return sizes


def _code(coder: Coder, given: Grid | Table | None, tables: list[Table]) -> Grid | Table:
    """A step, or a table: the same table as before, or a new one."""
    if not coder.bit("table", int(isinstance(given, Table))):
        mantissa, exponent = math.frexp(given.step) if isinstance(given, Grid) else (0.5, 0)
        mantissa = _bits(coder, round(mantissa * 2**BITS), BITS + 1)
        return Grid(math.ldexp(mantissa, _whole(coder, "exponent", exponent) - BITS))
    if number(coder, "known", int(given in tables)):
        at = number(coder, "which", tables.index(given) if isinstance(given, Table) else 0)
        return tables[at]
    values = given.table if isinstance(given, Table) else ()
    count = number(coder, "values", len(values))
    read = [_half(coder, values[i] if values else 0.0) for i in range(count)]
    tables.append(Table(tuple(read)))
    if isinstance(given, Table):
        tables[-1] = given
    return tables[-1]


def _whole(coder: Coder, kind: str, value: int) -> int:
    minus = coder.bit((kind, "minus"), int(value < 0))
    size = number(coder, kind, abs(value))
    return -size if minus else size


def _bits(coder: Coder, value: int, count: int) -> int:
    """So many bits as they are."""
    out = 0
    for i in reversed(range(count)):
        out = out << 1 | coder.bit(("bit", count, i), value >> i & 1)
    return out


def _half(coder: Coder, value: float) -> float:
    return float(
        np.array([_bits(coder, int(np.array([value], np.float16).view(np.uint16)[0]), 16)], np.uint16).view(np.float16)[0]
    )


def _float(coder: Coder, value: float) -> float:
    return float(
        np.array([_bits(coder, int(np.array([value], np.float32).view(np.uint32)[0]), 32)], np.uint32).view(np.float32)[0]
    )
