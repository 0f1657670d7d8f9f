"""ATen's pointwise operations in C: one row each. Semantics, NaN and infinities included, are torch's on a CPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from .values import Number, Unsupported, Value

aten = torch.ops.aten

PRELUDE = """
#include <math.h>
#include <stdint.h>
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#pragma GCC diagnostic ignored "-Wattributes"
#define VECTOR __attribute__((__simd__("notinbranch")))
VECTOR extern double exp(double); VECTOR extern float expf(float);
VECTOR extern double log(double); VECTOR extern float logf(float);
VECTOR extern double sin(double); VECTOR extern float sinf(float);
VECTOR extern double cos(double); VECTOR extern float cosf(float);
#if __GLIBC__ > 2 || __GLIBC_MINOR__ >= 35
VECTOR extern double tanh(double);
VECTOR extern double log1p(double); VECTOR extern float log1pf(float);
VECTOR extern double expm1(double); VECTOR extern float expm1f(float);
VECTOR extern double erf(double); VECTOR extern float erff(float);
#endif
#endif
#define SMALLER(a, b) ((a) != (a) || (a) < (b) ? (a) : (b))
#define LARGER(a, b) ((a) != (a) || (a) > (b) ? (a) : (b))
#define OF_EACH_TYPE(T, f) \\
static inline T logaddexp##f(T a, T b) { \\
  const T m = a > b ? a : b, d = -fabs##f(a - b); \\
  return a == b && isinf(a) ? a : (a != a || b != b) ? NAN : m + log1p##f(exp##f(d)); } \\
static inline T modulo##f(T a, T b) { \\
  const T r = fmod##f(a, b); \\
  return r != 0 && (r < 0) != (b < 0) ? r + b : r; } \\
static inline T xlogy##f(T a, T b) { return b != b ? NAN : a == 0 ? 0 : a * log##f(b); } \\
static inline T sigmoid##f(T a) { return 1 / (1 + exp##f(-a)); }
OF_EACH_TYPE(double, )
OF_EACH_TYPE(float, f)
/* Of the nearest rational function, odd, of degree 13 over 6, that Eigen and XLA take too: relative error 3e-7. */
static inline float hyperbolic(float x) {
  const float b = 7.90531110763549805f, c = x < -b ? -b : x > b ? b : x, s = c * c;
  float p = -2.76076847742355e-16f, q = 1.19825839466702e-06f;
  p = p * s + 2.00018790482477e-13f; p = p * s - 8.60467152213735e-11f; p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f; p = p * s + 6.37261928875436e-04f; p = p * s + 4.89352455891786e-03f;
  q = q * s + 1.18534705686654e-04f; q = q * s + 2.26843463243900e-03f; q = q * s + 4.89352518554385e-03f;
  return x > 9 ? 1 : x < -9 ? -1 : p * c / q; }
#define tanhf hyperbolic
"""

UNARY = {
    "neg": "-{0}",
    "abs": "fabs@({0})",
    "exp": "exp@({0})",
    "log": "log@({0})",
    "log1p": "log1p@({0})",
    "log2": "log2@({0})",
    "expm1": "expm1@({0})",
    "sqrt": "sqrt@({0})",
    "rsqrt": "1 / sqrt@({0})",
    "reciprocal": "1 / {0}",
    "sin": "sin@({0})",
    "cos": "cos@({0})",
    "atan": "atan@({0})",
    "tanh": "tanh@({0})",
    "sigmoid": "sigmoid@({0})",
    "relu": "{0} < 0 ? 0 : {0}",
    "erf": "erf@({0})",
    "erfc": "erfc@({0})",
    "lgamma": "lgamma@({0})",
    "sgn": "({0} > 0) - ({0} < 0)",
    "sign": "({0} > 0) - ({0} < 0)",
    "floor": "floor@({0})",
    "ceil": "ceil@({0})",
    "silu": "{0} * sigmoid@({0})",
}
BINARY = {
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "maximum": "{1} != {1} ? {1} : LARGER({0}, {1})",
    "minimum": "{1} != {1} ? {1} : SMALLER({0}, {1})",
    "logaddexp": "logaddexp@({0}, {1})",
    "remainder": "modulo@({0}, {1})",
    "xlogy": "xlogy@({0}, {1})",
    "tanh_backward": "{0} * (1 - {1} * {1})",
    "sigmoid_backward": "{0} * (1 - {1}) * {1}",
    "silu_backward": "{0} * sigmoid@({1}) * (1 + {1} * (1 - sigmoid@({1})))",
}
POWERS = {
    1: "{0}",
    2: "{0} * {0}",
    3: "{0} * {0} * {0}",
    0.5: "sqrt@({0})",
    -0.5: "1 / sqrt@({0})",
    -1: "1 / {0}",
    -2: "1 / ({0} * {0})",
}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGICAL = {
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
}
TESTS = {
    "isnan": "{0} != {0}",
    "isinf": "isinf({0}) != 0",
    "isfinite": "isfinite({0}) != 0",
    "logical_not": "{0} == 0",
}
Pointwise = tuple[str, tuple[Any, ...], torch.dtype | None]
"""A template, its operands, and the dtype that the operands are taken in (None: as they are)."""


def pointwise(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype) -> Pointwise | None:
    """An operation whose result has this dtype; None where the table has none of that name."""
    if name in UNARY:
        return UNARY[name], args[:1], _real(dtype, name)
    if name in BINARY:
        if len(args) != 2 or kwargs:
            raise Unsupported(f"{name} with {args[2:]}{kwargs}")
        if name == "mul" and not dtype.is_floating_point:
            return "{0} & {1}" if dtype == torch.bool else BINARY[name], args, dtype
        return BINARY[name], args, _real(dtype, name)
    if name in COMPARISONS:
        return f"{{0}} {COMPARISONS[name]} {{1}}", args, _common(*args)
    if name in LOGICAL:
        if dtype != torch.bool or any(_dtype(a) != torch.bool for a in args):
            raise Unsupported(f"{name} of integers")
        return LOGICAL[name], args, dtype
    if name in TESTS:
        return TESTS[name], args, None
    special = SPECIAL.get(name)
    return None if special is None else fitting(special, dtype, *args, **kwargs)


def fitting(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``f`` of these arguments; raises Unsupported where it does not take them: not every overload has C."""
    try:
        inspect.signature(f).bind(*args, **kwargs)
    except TypeError as error:
        raise Unsupported(str(error)) from error
    return f(*args, **kwargs)


def _real(dtype: torch.dtype, name: str) -> torch.dtype:
    if not dtype.is_floating_point and not (name == "neg" and dtype == torch.int64):
        raise Unsupported(f"{name} of {dtype}")
    return dtype


def _dtype(value: Any) -> torch.dtype:
    if isinstance(value, bool | int | float):
        return torch.bool if isinstance(value, bool) else torch.float64
    dtype: torch.dtype = value.dtype
    return dtype


def _common(a: Any, b: Any) -> torch.dtype:
    """The dtype in which torch compares them."""

    def alike(value: Any) -> Any:
        number = isinstance(value, bool | int | float)
        return value if number else torch.empty((1,) * len(value.shape), dtype=value.dtype)

    return torch.result_type(alike(a), alike(b))


def _add(sign: str) -> Callable[..., Pointwise]:
    def made(dtype: torch.dtype, a: Any, b: Any, alpha: Any = 1) -> Pointwise:
        if dtype == torch.bool:
            raise Unsupported("sums of booleans")
        return (
            (f"{{0}} {sign} {{1}}", (a, b), dtype) if alpha == 1 else (f"{{0}} {sign} {{2}} * {{1}}", (a, b, alpha), dtype)
        )

    return made


def _power(dtype: torch.dtype, a: Any, b: Any) -> Pointwise:
    kind = _real(dtype, "pow")
    number = b.value if isinstance(b, Number) else b
    if isinstance(number, int | float) and number in POWERS:
        return POWERS[number], (a,), kind
    return "pow@({0}, {1})", (a, b), kind


def _clamp(dtype: torch.dtype, x: Any, low: Any = None, high: Any = None, min: Any = None, max: Any = None) -> Pointwise:
    low, high = low if min is None else min, high if max is None else max
    if not all(bound is None or isinstance(bound, bool | int | float) for bound in (low, high)):
        raise Unsupported("clamp to tensors, which may be NaN")
    text, operands = "{0}", [x]
    if low is not None:
        text, operands = f"{text} < {{1}} ? {{1}} : {text}", [x, low]
    if high is not None:
        n = len(operands)
        text, operands = f"({text}) > {{{n}}} ? {{{n}}} : ({text})", [*operands, high]
    return text, tuple(operands), dtype


def _finite(dtype: torch.dtype, x: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Pointwise:
    limits = torch.finfo(_real(dtype, "nan_to_num"))
    nan, posinf = 0.0 if nan is None else nan, limits.max if posinf is None else posinf
    text = "{0} != {0} ? {1} : {0} == INFINITY ? {2} : {0} == -INFINITY ? {3} : {0}"
    return text, (x, nan, posinf, limits.min if neginf is None else neginf), dtype


def _softplus(dtype: torch.dtype, x: Any, beta: Any = 1, threshold: Any = 20) -> Pointwise:
    text = "{0} * {1} > {2} ? {0} : log1p@(exp@({0} * {1})) / {1}"
    return text, (x, beta, threshold), _real(dtype, "softplus")


def _softplus_backward(dtype: torch.dtype, gradient: Any, x: Any, beta: Any, threshold: Any) -> Pointwise:
    text = "{1} * {2} > {3} ? {0} : {0} * (exp@({1} * {2}) / (exp@({1} * {2}) + 1))"
    return text, (gradient, x, beta, threshold), _real(dtype, "softplus_backward")


SPECIAL: dict[str, Callable[..., Pointwise]] = {
    "add": _add("+"),
    "sub": _add("-"),
    "rsub": lambda dtype, a, b, alpha=1: _add("-")(dtype, b, a) if alpha == 1 else ("{0} - {2} * {1}", (b, a, alpha), dtype),
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": lambda dtype, x, low: _clamp(dtype, x, low),
    "clamp_max": lambda dtype, x, high: _clamp(dtype, x, None, high),
    "nan_to_num": _finite,
    "softplus": _softplus,
    "softplus_backward": _softplus_backward,
    "bitwise_not": lambda dtype, x: ("!{0}", (x,), _only(dtype, torch.bool)),
    "log_sigmoid_backward": lambda dtype, g, x, _: ("{0} * sigmoid@(-{1})", (g, x), _real(dtype, "log_sigmoid_backward")),
    "threshold_backward": lambda dtype, g, x, t: ("{1} <= {2} ? 0 : {0}", (g, x, t), _real(dtype, "threshold_backward")),
    "addcmul": lambda dtype, x, a, b, value=1: ("{0} + {3} * {1} * {2}", (x, a, b, value), _real(dtype, "addcmul")),
    "addcdiv": lambda dtype, x, a, b, value=1: ("{0} + {3} * {1} / {2}", (x, a, b, value), _real(dtype, "addcdiv")),
}


POINTWISE = {*UNARY, *BINARY, *COMPARISONS, *LOGICAL, *TESTS, *SPECIAL}


def _only(dtype: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    if dtype != wanted:
        raise Unsupported(f"bitwise operations on {dtype}")
    return dtype


def suffixed(template: str, dtype: torch.dtype | None) -> str:
    """With C's names of the functions of this type."""
    return template.replace("@", "f" if dtype == torch.float32 else "")


def as_value(operand: Any, dtype: torch.dtype) -> Value:
    return operand if not isinstance(operand, bool | int | float) else Number(operand, dtype)
