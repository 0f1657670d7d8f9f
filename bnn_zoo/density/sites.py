"""One look at a Pyro model: its latent sites, their supports and shapes, its plates, and what must be refused of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions.transforms import Transform

from .._torch import BatchNorm, register_module_forward_pre_hook
from ..bijections import bijection
from ..laws import LogUniform
from ..types import DataError, ModelError
from .enumeration import nesting
from .observed import check_arguments, check_observed, is_data


@dataclass(frozen=True)
class Site:
    """A latent site: its shape, its place in the flat position, and the bijection onto its support.

    ``transform`` is None where the support depends on other sites (``Uniform(0, a)``) and must be asked for at each point.
    ``proper`` is False where any posterior has infinite mass, as with a density 1/|w| at 0.
    """

    name: str
    shape: torch.Size
    flat_shape: torch.Size
    transform: Transform | None
    proper: bool = True

    @property
    def size(self) -> int:
        return prod(self.flat_shape)


@dataclass(frozen=True)
class Row:
    """A plate of an observed site: ``seen`` of ``size`` rows."""

    site: str
    plate: str
    seen: int
    size: int


def is_latent(msg: Any) -> bool:
    """A site to be inferred. Discrete ones, which are summed out, are none."""
    return is_open(msg) and not msg["fn"].support.is_discrete


def is_open(msg: Any) -> bool:
    return msg["type"] == "sample" and not msg["is_observed"] and not site_is_subsample(msg)


class Fill(Messenger):
    """Gives a value to each latent site: from its law, or, where a law cannot be sampled, from its support.

    ``choose(fn)`` returns the value. It also remembers the site that was reached last, for error messages.
    """

    def __init__(self, choose: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.choose, self.last = choose, "the start of the model"

    def _pyro_sample(self, msg: Any) -> None:
        self.last = f"site {msg['name']!r}"
        if is_open(msg) and not msg["done"] and not check_support(msg).is_discrete:
            value = self.choose(msg["fn"])
            # in the log joint's own dtype, though the law may have been made outside the model in another
            msg["value"] = value.to(torch.get_default_dtype()) if value.is_floating_point() else value
            msg["done"] = True


def uniform_on_support(fn: Any, radius: float = 2.0) -> Tensor:
    """Uniform(−radius, radius) on the real line, mapped to the support of ``fn``: needs no sampler of the law."""
    transform = bijection(fn.support)
    return transform(torch.empty(transform.inverse_shape(fn.shape())).uniform_(-radius, radius))


def draw_or_support(fn: Any) -> Tensor:
    """A draw from the law, or a point of its support for laws that cannot be sampled (``ImproperUniform``)."""
    try:
        return fn()
    except NotImplementedError:
        return uniform_on_support(fn)


def moderate_draw(fn: Any, radius: float = 2.0) -> Tensor:
    """As ``draw_or_support``, but values that are not on the whole real line, such as scales, stay within ±``radius`` of 0
    on the unconstrained line."""
    value = draw_or_support(fn)
    if unbounded(fn.support):
        return value
    transform = bijection(fn.support)
    return transform(transform.inv(value).nan_to_num(0.0).clamp(-radius, radius))


def unbounded(support: Any) -> bool:
    """Whether a support is the whole real line or space."""
    while isinstance(support, dist.constraints.independent):
        support = support.base_constraint
    return support is dist.constraints.real or support is dist.constraints.real_vector


def check_support(msg: Any) -> Any:
    """The support of a latent site. Raises ModelError where there is no way to infer it."""
    fn, name = msg["fn"], msg["name"]
    if fn.support.is_discrete:
        if not getattr(fn, "has_enumerate_support", False):
            raise ModelError(
                f"site {name!r} ({type(fn).__name__}) is latent and discrete with values that cannot be listed, so the log "
                "joint has no gradient there and no finite sum: sum it out by hand (a log-sum-exp in pyro.factor, "
                "truncated), or observe it"
            )
        return fn.support
    try:
        bijection(fn.support)
    except NotImplementedError:
        raise ModelError(
            f"site {name!r} ({type(fn).__name__}): no bijection from the real line to its support {fn.support}; "
            "write it as a function of an unconstrained site"
        ) from None
    return fn.support


@contextmanager
def refuse_batchnorm() -> Iterator[None]:
    """Raise ModelError if a BatchNorm that looks at other rows runs inside, wherever the model hides it."""

    def hook(module: torch.nn.Module, _: Any) -> None:
        if isinstance(module, BatchNorm) and (module.training or module.running_mean is None):
            how = "in training mode" if module.training else "without running statistics"
            raise ModelError(
                f"the model runs {type(module).__name__} {how}: a row's likelihood then depends on the other rows; put "
                "another normalisation in its place, bnn_zoo.nets.replace_batchnorm(net), or call .eval() to freeze its "
                "statistics"
            )

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Seen:
    """What a look at a model found: latent sites; plates of its data; the plates that draw rows of their own
    (``subsample_size=`` below their size), with the rows of one run; names of discrete latent sites, which are to be summed
    out, and the dimensions of all plates."""

    sites: list[Site]
    rows: list[Row]
    subsampled: dict[str, Tensor]
    discrete: list[str]
    nesting: int


def look(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Seen:
    """Run the model twice and list what it is made of. Raises ModelError or DataError."""
    first, second = (_run(model, args, kwargs) for _ in range(2))
    latents = {n: m for n, m in first.nodes.items() if is_latent(m)}
    again = {n for n, m in second.nodes.items() if is_latent(m)}
    if latents.keys() != again:
        raise ModelError(
            f"two runs of the model gave different sites ({sorted(latents.keys() ^ again)} in one only): a sampler needs "
            "a fixed set; replace the branch by torch.where or a mask"
        )
    discrete = [n for n, m in first.nodes.items() if is_open(m) and n not in latents]
    if not latents and discrete:
        raise ModelError(f"the model's latent sites {discrete} are all discrete: summed out, nothing is left to infer")
    if not latents:
        raise ModelError("the model has no latent site: there is nothing to infer (is everything given as obs=?)")
    sites = [_site(name, msg, second.nodes[name]) for name, msg in latents.items()]
    data = [(name, msg) for name, msg in first.nodes.items() if is_data(msg)]
    for name, msg in data:
        check_observed(name, msg)
    check_arguments(args, [m for m in first.nodes.values() if m["type"] == "sample" and m["is_observed"]])
    rows = [
        Row(name, f.name, f.size, f.full_size or f.size)
        for name, msg in data
        for f in msg["cond_indep_stack"]
        if f.vectorized
    ]
    plates = [(n, m) for n, m in first.nodes.items() if m["type"] == "sample" and site_is_subsample(m)]
    drawn = {n: m["value"] for n, m in plates if (m["fn"].subsample_size or m["fn"].size) < m["fn"].size}
    return Seen(sites, rows, drawn, discrete, nesting(first.nodes))


def _run(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], tries: int = 10) -> Any:
    """A trace of the model; an unlucky draw, where a law's parameters leave their domain, is tried again."""
    fill = Fill(draw_or_support)
    with pyro.validation_enabled(True), refuse_batchnorm(), fill:
        try:
            return poutine.trace(model).get_trace(*args, **kwargs)
        except (ModelError, DataError) as error:
            raise type(error)(_without_shapes(error)) from error.__cause__
        except (ValueError, RuntimeError, TypeError, IndexError, KeyError) as error:
            unlucky = isinstance(error, torch.linalg.LinAlgError) or "to satisfy the constraint" in str(error)
            if not unlucky or tries == 1:
                what = _without_shapes(error)
                raise ModelError(f"the model fails on these data, at or after {fill.last}: {what}{_holes(args)}") from error
    return _run(model, args, kwargs, tries - 1)


def _holes(args: tuple[Any, ...]) -> str:
    """What to do about arguments with NaN, of a model that failed."""
    with_nan = [i for i, t in enumerate(args) if isinstance(t, Tensor) and bool(torch.isnan(t).any())]
    return f" (argument {with_nan[0]} of the data has NaN values: drop or impute them)" if with_nan else ""


def _without_shapes(error: Exception) -> str:
    """The message without the table of all shapes that Pyro puts under it."""
    return str(error.args[0] if error.args else error).split("Trace Shapes:")[0].strip()


def _site(name: str, msg: Any, other: Any) -> Site:
    transform, transform2 = bijection(msg["fn"].support), bijection(other["fn"].support)
    flat_shape = torch.Size(transform.inverse_shape(msg["fn"].shape()))
    probe = torch.full(flat_shape, 0.3, device=msg["value"].device)
    fixed = torch.equal(transform(probe), transform2(probe))
    law = msg["fn"]
    while isinstance(law, dist.MaskedDistribution | torch.distributions.Independent):
        law = law.base_dist
    return Site(name, msg["fn"].shape(), flat_shape, transform if fixed else None, not isinstance(law, LogUniform))
