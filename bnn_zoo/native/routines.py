"""Operations that are more than one loop over elements: products, gathers, triangular systems."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .operations import as_value
from .values import C_TYPES, Array, Block, Expression, Number, Statement, Unsupported, Value, contiguous, fold, write

if TYPE_CHECKING:
    from .lowering import Program


def product(program: Program, result: Tensor, a: Value, b: Value) -> Array:
    """``[…, i, k] @ […, k, j]``, ``[i, k] @ [k]`` or ``[k] @ [k]``: a sum over k of products."""
    a, b = program.array(a), program.array(b)
    vectors = len(a.shape) == 1, len(b.shape) == 1
    a = Array(a.buffer, (1, *a.shape), (0, *a.strides), a.offset) if vectors[0] else a
    b = Array(b.buffer, (*b.shape, 1), (*b.strides, 0), b.offset) if vectors[1] else b
    (*batch, i, k), j = a.shape, b.shape[-1]
    left = Array(a.buffer, (*batch, i, 1, k), (*a.strides[:-1], 0, a.strides[-1]), a.offset)
    right = Array(b.buffer, (*batch, 1, j, k), (*b.strides[:-2], 0, b.strides[-1], b.strides[-2]), b.offset)
    terms = Expression("{0} * {1}", (left, right), a.dtype, (*batch, i, j, k), a.dtype)
    program.products += math.prod(terms.shape)
    out = program.new((*batch, i, j, 1), result.dtype)
    real = a.dtype.is_floating_point
    program.statements.append(fold(terms, out, [len(batch) + 2], "0", "acc += x;", "double" if real else "int64_t", "+"))
    return Array(out.buffer, tuple(result.shape), contiguous(result.shape))


def added_product(program: Program, result: Tensor, c: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Array:
    """β c + α a @ b."""
    ab = product(program, result, a, b)
    terms = (c, ab, as_value(beta, ab.dtype), as_value(alpha, ab.dtype))
    return program.array(Expression("{2} * {0} + {3} * {1}", terms, ab.dtype, ab.shape, ab.dtype))


def triangle(keep: str) -> Callable[..., Array]:
    """The lower or upper triangle, zeros elsewhere."""

    def made(program: Program, result: Tensor, x: Value, diagonal: int = 0) -> Array:
        x, out = program.array(x), program.new(result.shape, result.dtype)
        block = Block(out.shape, [out, x])
        _plainly(block, out, x)
        row, column = f"i{len(out.shape) - 2}", f"i{len(out.shape) - 1}"
        body = f"{block.at(out)} = {column} - {row} {keep} {diagonal} ? {block.at(x)} : 0;"
        program.statements.append(block.statement(_nested(block, body), out.buffer))
        return out

    return made


def _plainly(block: Block, *arrays: Array) -> None:
    """Let the block have one loop for each axis, none joined: ``i3`` is the third index."""
    shape = arrays[0].shape
    block.outer, block.inner, block.sizes = [(n, d) for d, n in enumerate(shape)], [], list(shape)
    block.strides = {id(a): list(a.expanded(shape).strides) for a in arrays}


def _nested(block: Block, body: str) -> str:
    return "\n".join([*(block.loop(n) for n in range(len(block.sizes))), "{", body, "}"])


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
    program.statements.append(block.statement(_nested(block, body), out.buffer))
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
    statement = block.statement(_nested(block, body), out.buffer)
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
    _plainly(block, over)
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


def cholesky(
    program: Program, result: Any, x: Value, *, upper: bool = False, check_errors: bool = False
) -> tuple[Array, Array]:
    """L Lᵀ = x, and for each matrix 0, or the first column at which x is not positive definite."""
    if upper or check_errors:
        raise Unsupported("cholesky_ex with upper or check_errors")
    x = program.ordered(x)
    out, info = program.new(result[0].shape, result[0].dtype), program.new(result[1].shape, result[1].dtype)
    (*batch, n, _), c = x.shape, C_TYPES[x.dtype]
    root = "sqrtf" if c == "float" else "sqrt"
    text = f"""{{ const {c} *a = {x.buffer.token} + {x.offset}; {c} *l = {out.buffer.token}; int32_t *info =
  {info.buffer.token};
for (int64_t b = 0; b < {math.prod(batch)}; ++b, a += {n * n}, l += {n * n}) {{
  info[b] = 0;
  for (int64_t i = 0; i < {n}; ++i) for (int64_t j = 0; j < {n}; ++j) {{
    double s = j <= i ? a[i * {n} + j] : 0;
    for (int64_t k = 0; j <= i && k < j; ++k) s -= (double)l[i * {n} + k] * l[j * {n} + k];
    if (i == j && !(s > 0) && !info[b]) info[b] = (int32_t)(i + 1);
    l[i * {n} + j] = j > i ? 0 : i == j ? {root}(s) : s / l[j * {n} + j];
  }}
}} }}"""
    program.statements.append(Statement(text, {x.buffer}, {out.buffer, info.buffer}))
    return out, info


def _transposed(m: Array) -> Array:
    return Array(m.buffer, (*m.shape[:-2], *m.shape[:-3:-1]), (*m.strides[:-2], *m.strides[:-3:-1]), m.offset)


def solve_triangular(
    program: Program, result: Tensor, a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    """x of a x = b, or x a = b, a triangular, by substitution."""
    a, b = program.array(a), program.array(b)
    out = program.new(result.shape, result.dtype)
    batch = tuple(result.shape[:-2])
    a, x = a.expanded((*batch, *a.shape[-2:])), out
    b = b.expanded(out.shape)
    if not left:  # its transpose
        a, b, x = (
            Array(m.buffer, (*batch, *m.shape[:-3:-1]), (*m.strides[:-2], *m.strides[:-3:-1]), m.offset) for m in (a, b, x)
        )
        upper = not upper
    n, m = x.shape[-2:]
    loops = "\n".join(f"for (int64_t i{d} = 0; i{d} < {size}; ++i{d})" for d, size in enumerate(batch))

    def at(matrix: Array, name: str, i: str, j: str) -> str:
        outer = "".join(f" + i{d} * {s}" for d, s in enumerate(matrix.strides[:-2]))
        return f"{name}[{matrix.offset}{outer} + {i} * {matrix.strides[-2]} + {j} * {matrix.strides[-1]}]"

    c = C_TYPES[out.dtype]
    order = f"const int64_t i = {n - 1} - r;" if upper else "const int64_t i = r;"
    inner = f"for (int64_t k = i + 1; k < {n}; ++k)" if upper else "for (int64_t k = 0; k < i; ++k)"
    divided = "s" if unitriangular else f"s / {at(a, 'a', 'i', 'i')}"
    text = f"""{{ const {c} *a = {a.buffer.token}, *b = {b.buffer.token}; {c} *x = {out.buffer.token};
{loops}
for (int64_t r = 0; r < {n}; ++r) {{ {order}
for (int64_t j = 0; j < {m}; ++j) {{
  double s = {at(b, "b", "i", "j")};
  {inner} s -= (double){at(a, "a", "i", "k")} * {at(x, "x", "k", "j")};
  {at(x, "x", "i", "j")} = {divided};
}} }} }}"""
    program.statements.append(Statement(text, {a.buffer, b.buffer}, {out.buffer}))
    return out


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
    "mm": product,
    "bmm": product,
    "mv": product,
    "dot": product,
    "addmm": added_product,
    "baddbmm": added_product,
    "tril": triangle("<="),
    "triu": triangle(">="),
    "constant_pad_nd": padded,
    "cumsum": cumulative(0, "+"),
    "cumprod": cumulative(1, "*"),
    "flip": flip,
    "index": index,
    "index_put": put,
    "_unsafe_index_put": put,
    "linalg_cholesky_ex": cholesky,
    "linalg_solve_triangular": solve_triangular,
    "select_backward": scattered(aten.select.int, zeros=True),
    "slice_backward": scattered(aten.slice.Tensor, zeros=True),
    "diagonal_backward": scattered(aten.diagonal.default, zeros=True),
    "select_scatter": scattered(aten.select.int),
    "slice_scatter": scattered(aten.slice.Tensor),
    "diagonal_scatter": scattered(aten.diagonal.default),
    "log_sigmoid_forward": log_sigmoid,
}
