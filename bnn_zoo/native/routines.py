"""Operations that are more than one loop over elements: what is gathered, accumulated or written in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .linear import LINEAR, nested, plainly
from .nests import write
from .values import Array, Block, Expression, Number, Unsupported, Value

if TYPE_CHECKING:
    from .lowering import Program


def cumulative(begin: int, sign: str) -> Callable[..., Array]:
    """Sums or products of all elements so far along an axis."""

    def made(program: Program, result: Tensor, x: Value, dim: int, **_: Any) -> Array:
        x, out = program.array(x), program.new(result.shape, result.dtype)
        if not out.shape:
            return program.array(Expression("{0}", (x,), out.dtype, (), out.dtype))
        dim %= len(out.shape)
        block = Block(out.shape, [out, x], [dim])
        count = len(block.outer)
        kind = "double" if result.dtype.is_floating_point else "int64_t"
        inner = [block.loop(n) for n in range(count, len(block.sizes))]
        body = [*(block.loop(n) for n in range(count)), "{", f"{kind} acc = {begin};", *inner]
        body += ["{", f"acc {sign}= {block.at(x)};", f"{block.at(out)} = acc;", "}", "}"]
        program.statements.append(block.statement("\n".join(body), out.buffer))
        return out

    return made


def gather(program: Program, result: Tensor, x: Value, dim: int, index: Value) -> Array:
    """``out[…, i, …] = x[…, index[…, i, …], …]`` with the index along ``dim``."""
    x, index, out = program.array(x), program.array(index), program.new(result.shape, result.dtype)
    block, line, where = _along(x, dim, index, out)
    body = f"{line}\n{block.at(out)} = {where};"
    program.statements.append(block.statement(nested(block, body), out.buffer))
    return out


def scatter(sign: str) -> Callable[..., Array]:
    """``x[…, index[…, i, …], …] = source[…, i, …]``, or ``+=``, in a copy; the source is a tensor, or a number."""

    def made(program: Program, result: Tensor, x: Value, dim: int, index: Value, source: Any) -> Array:
        index, out = program.array(index), program.new(result.shape, result.dtype)
        program.statements.append(write(x, out))
        if isinstance(source, bool | int | float):
            source = Number(source, result.dtype, index.shape)
        source = program.array(source)
        over = Array(source.buffer, index.shape, source.strides, source.offset)  # it may be larger than the index
        block, line, where = _along(out, dim, index, over)
        body = f"{line}\n{where} {sign} {block.at(over)};"
        statement = block.statement(nested(block, body), out.buffer)
        statement.reads.add(out.buffer)
        program.statements.append(statement)
        return out

    return made


def _along(x: Array, dim: int, index: Array, over: Array) -> tuple[Block, str, str]:
    """A block with loops over ``over``, of the shape of ``index``, a line that looks an index up, and x's element there."""
    if not x.shape:
        raise Unsupported("an index into a number")
    dim %= len(x.shape)
    block = Block(over.shape, [over])
    plainly(block, over)
    block.reads |= {x.buffer, index.buffer}
    place = " + ".join([str(index.offset), *(f"i{d} * {s}" for d, s in enumerate(index.strides) if s)])
    line = f"const int64_t g = {block.pointer(index.buffer)}[{place}]; if (g < 0 || g >= {x.shape[dim]}) return 1;"
    terms = [str(x.offset), *(f"{'g' if d == dim else f'i{d}'} * {s}" for d, s in enumerate(x.strides))]
    return block, line, f"{block.pointer(x.buffer)}[{' + '.join(terms)}]"


def flip(program: Program, result: Tensor, x: Value, dims: list[int]) -> Array:
    x, out = program.array(x), program.new(result.shape, result.dtype)
    dims = [d % len(x.shape) for d in dims]
    strides = tuple(-s if d in dims else s for d, s in enumerate(x.strides))
    offset = x.offset + sum((x.shape[d] - 1) * x.strides[d] for d in dims)
    program.statements.append(write(Array(x.buffer, x.shape, strides, offset), out))
    return out


def index(program: Program, result: Tensor, x: Value, indices: list[Value | None]) -> Array:
    """``x[:, i, j]``: axes that have an index are looked up."""
    x, out = program.array(x), program.new(result.shape, result.dtype)
    block, lines, where = _looked_up(program, x, indices, out)
    body = "\n".join([*lines, f"{block.at(out)} = {where};"])
    program.statements.append(block.statement(nested(block, body), out.buffer))
    return out


def put(
    program: Program, result: Tensor, x: Value, indices: list[Value | None], values: Value, accumulate: bool = False, *_: Any
) -> Array:
    """``x[:, i, j] = values``, or ``+=``, in a copy."""
    out = program.new(result.shape, result.dtype)
    program.statements.append(write(x, out))
    given = [i for i in indices if i is not None]
    spread = torch.broadcast_shapes(*(i.shape for i in given))
    first = next(n for n, i in enumerate(indices) if i is not None)
    rest = list(indices) + [None] * (len(out.shape) - len(indices))
    kept = [size for size, i in zip(out.shape, rest, strict=True) if i is None]
    at = first if _adjacent(rest) else 0
    values = program.array(values).expanded((*kept[:at], *spread, *kept[at:]))
    block, lines, where = _looked_up(program, out, indices, values)
    body = "\n".join([*lines, f"{where} {'+=' if accumulate else '='} {block.at(values)};"])
    statement = block.statement(nested(block, body), out.buffer)
    statement.reads.add(out.buffer)
    program.statements.append(statement)
    return out


def _adjacent(indices: list[Value | None]) -> bool:
    places = [n for n, i in enumerate(indices) if i is not None]
    return places == list(range(places[0], places[-1] + 1))


def _looked_up(program: Program, x: Array, indices: list[Any], over: Array) -> tuple[Block, list[str], str]:
    """A block with loops over ``over``, lines that look the indices up, and the element of x that they lead to."""
    rest = list(indices) + [None] * (len(x.shape) - len(indices))
    if any(i is not None and i.dtype != torch.int64 for i in rest):
        raise Unsupported("an index that is a mask")
    given = [None if i is None else program.array(i) for i in rest]
    spread = torch.broadcast_shapes(*(i.shape for i in given if i is not None))
    at = next(n for n, i in enumerate(given) if i is not None) if _adjacent(rest) else 0
    block = Block(over.shape, [over])
    plainly(block, over)
    block.reads |= {x.buffer, *(i.buffer for i in given if i is not None)}
    lines, terms, axis = [], [str(x.offset)], 0
    for d, i in enumerate(given):
        if i is None:
            axis = axis + len(spread) if axis == at else axis
            terms.append(f"i{axis} * {x.strides[d]}")
            axis += 1
            continue
        strides = i.expanded(tuple(spread)).strides
        where = " + ".join([str(i.offset), *(f"i{at + n} * {s}" for n, s in enumerate(strides) if s)])
        lines.append(f"int64_t g{d} = {block.pointer(i.buffer)}[{where}]; g{d} += g{d} < 0 ? {x.shape[d]} : 0;")
        lines.append(f"if (g{d} < 0 || g{d} >= {x.shape[d]}) return 1;")
        terms.append(f"g{d} * {x.strides[d]}")
    return block, lines, f"{block.pointer(x.buffer)}[{' + '.join(terms)}]"


def scattered(view: Callable[..., Tensor], zeros: bool = False) -> Callable[..., Array]:
    """A copy of x of which a view is overwritten; with ``zeros`` the gradient of the view, zero elsewhere."""

    def made(program: Program, result: Tensor, first: Value, second: Any, *where: Any) -> Array:
        x, source = (Number(0, result.dtype, tuple(result.shape)), first) if zeros else (first, second)
        return _overwritten(program, result, x, lambda out: view(out, *where), source)

    return made


def _overwritten(program: Program, result: Tensor, x: Value, view: Callable[[Tensor], Tensor], source: Value) -> Array:
    out = program.new(result.shape, result.dtype)
    seen = view(out.model())
    into = Array(out.buffer, tuple(seen.shape), tuple(seen.stride()), int(seen.storage_offset()))
    program.statements += [write(x, out), write(source, into)]
    program.statements[-1].reads.add(out.buffer)
    return out


def padded(program: Program, result: Tensor, x: Value, pad: list[int], value: Any = 0) -> Array:
    """x with ``pad`` numbers before and after the last axis, the one before it, and so on; negative ones are cut off."""
    x = program.array(x)
    shape, offset = list(x.shape), x.offset
    for d, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), 1):
        shape[-d] += min(before, 0) + min(after, 0)
        offset -= min(before, 0) * x.strides[-d]

    def middle(out: Tensor) -> Tensor:
        for d, before in enumerate(pad[::2], 1):
            out = out.narrow(-d, max(before, 0), shape[-d])
        return out

    kept = Array(x.buffer, tuple(shape), x.strides, offset)
    return _overwritten(program, result, Number(value, result.dtype, tuple(result.shape)), middle, kept)


def log_sigmoid(program: Program, result: Any, x: Value) -> tuple[Array, Array]:
    """``min(x, 0) − log(1 + exp(−|x|))``; the second output is used by nothing that stands here."""
    f = "f" if x.dtype == torch.float32 else ""
    text = f"({{0}} < 0 ? {{0}} : 0) - log1p{f}(exp{f}(-fabs{f}({{0}})))"
    out = program.array(Expression(text, (x,), x.dtype, tuple(x.shape), x.dtype))
    return out, out


aten = torch.ops.aten
TABLE: dict[str, Callable[..., Any]] = {
    **LINEAR,
    "constant_pad_nd": padded,
    "cumsum": cumulative(0, "+"),
    "cumprod": cumulative(1, "*"),
    "flip": flip,
    "gather": gather,
    "scatter": scatter("="),
    "scatter_add": scatter("+="),
    "index": index,
    "index_put": put,
    "_unsafe_index_put": put,
    "select_backward": scattered(aten.select.int, zeros=True),
    "slice_backward": scattered(aten.slice.Tensor, zeros=True),
    "diagonal_backward": scattered(aten.diagonal.default, zeros=True),
    "select_scatter": scattered(aten.select.int),
    "slice_scatter": scattered(aten.slice.Tensor),
    "diagonal_scatter": scattered(aten.diagonal.default),
    "log_sigmoid_forward": log_sigmoid,
}
