"""Running a model at posterior draws: predictions and pointwise log likelihoods, vectorised over draws.

A pass runs the Pyro model with its latent sites held at a draw and catches the law of y, so a likelihood's own unknowns
(a noise scale) enter with their drawn values. Passes are batched over draws with ``vmap``, and the laws of a batch come
out as one batched distribution; sampling, moments and log densities are then plain calls on it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from math import prod
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.func import vmap

from .._interrupt import gently, safe_point
from .._scope import alone, factory, seeded
from .._torch import IntegerInterval
from ..bnn import rows_alone
from ..density import Hold, is_data
from ..density.agreement import close
from ..density.graph import quiet
from ..density.sites import is_latent
from ..laws import unweighted
from ..run.stored import flattened
from ..types import DataError, Model, ModelError
from .whole import Whole

NUMBERS = 2**18
"""Draws × numbers in the rows (16 a row at least) of one vectorised pass: keeps activations in the cache, or near it."""
BYTES = 2**27
"""Of all weights in one vectorised pass."""
ROWS = 1_024
"""Rows of a BNN in one pass."""


class SummedOut(ModelError):
    """An observed site may depend on a latent one that has no draws, such as a discrete one that the fit summed out."""


class Catch(Hold):
    """Holds the latent sites and catches the laws of all others: of observed data with their values, and of open sites.

    Open sites (y, where none was given) are not sampled: they get a placeholder.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self.data: dict[str, Any] = {}
        self.observed: dict[str, Tensor] = {}
        self.open: dict[str, Any] = {}
        self.fixed: dict[str, Tensor] = {}
        self.blind: set[str] = set()  # open sites before an observed one, whose law may depend on their placeholders

    def _pyro_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        if name in self.values and is_latent(msg) and self.values[name].shape != fn.shape():
            raise DataError(
                f"site {name!r}: its draws have shape {tuple(self.values[name].shape)}, and with these arguments it has "
                f"{tuple(fn.shape())}: a site with a value a row of the training data has none for other rows"
            )
        super()._pyro_sample(msg)
        if site_is_subsample(msg) or name in self.values:
            return
        if is_data(msg):
            self.data[name], self.observed[name] = _masked(msg), msg["value"]
            self.blind.update(self.open)
        elif not msg["is_observed"]:
            self.open[name] = unweighted(fn)
            index = isinstance(fn.support, IntegerInterval)
            msg["value"], msg["done"] = torch.zeros(fn.shape(), dtype=torch.long if index else None), True
        elif isinstance(base_law(fn), dist.Delta) and not self.open and not msg["infer"].get("constant"):
            self.fixed[name] = msg["value"]


def _masked(msg: Any) -> Any:
    """The site's law with what hides rows from the log joint as its own mask: handlers' masks, and scales of zero.

    Like other scales, the weights of classes are left out.
    """
    law, mask, scale = unweighted(msg["fn"]), msg["mask"], msg["scale"]
    if isinstance(scale, Tensor) and scale.dim():
        law = law.mask(scale != 0)
    elif not isinstance(scale, Tensor) and scale == 0:
        law = law.mask(False)
    return law if mask is None or mask is True else law.mask(mask)


def base_law(law: Any) -> Any:
    while isinstance(law, torch.distributions.Independent | dist.MaskedDistribution):
        law = law.base_dist
    return law


def _parameters(law: Any) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], Any]]:
    """A law's tensors, and how to make it again from them, with leading batch axes or without."""
    if isinstance(law, torch.distributions.Independent):
        tensors, rebuild = _parameters(law.base_dist)
        return tensors, lambda t: rebuild(t).to_event(law.reinterpreted_batch_ndims)
    if isinstance(law, dist.MaskedDistribution):
        tensors, rebuild = _parameters(law.base_dist)
        mask = law._mask if isinstance(law._mask, Tensor) else torch.full(law.batch_shape, law._mask, dtype=torch.bool)
        return {**tensors, "mask": mask}, lambda t: rebuild({k: v for k, v in t.items() if k != "mask"}).mask(t["mask"])
    if isinstance(law, dist.MixtureSameFamily):
        return _mixture_parameters(law)
    names = set(law.arg_constraints)
    for chosen, others in (("logits", {"probs"}), ("scale_tril", {"covariance_matrix", "precision_matrix"})):
        if chosen in names:
            names -= others
    defaults = {n: p.default for n, p in inspect.signature(type(law)).parameters.items() if n not in law.arg_constraints}
    settings = {n: getattr(law, n, None) for n, value in defaults.items() if n != "validate_args"}
    settings = {n: value for n, value in settings.items() if value != defaults[n]}
    if not names or not all(isinstance(value, int | float | tuple) for value in settings.values()):
        raise NotImplementedError(f"{type(law).__name__} is not made from batched tensors and numbers alone")
    return {name: getattr(law, name) for name in sorted(names)}, lambda t: type(law)(**t, **settings)


def _mixture_parameters(law: Any) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], Any]]:
    weights, parts = law.mixture_distribution, law.component_distribution
    if weights.batch_shape != law.batch_shape or parts.batch_shape != (*law.batch_shape, law._num_component):
        raise NotImplementedError("a batch of draws in front would broadcast otherwise")
    shares, of_shares = _parameters(weights)
    tensors, of_parts = _parameters(parts)
    named = {f"mixture {k}": v for k, v in shares.items()} | {f"part {k}": v for k, v in tensors.items()}

    def rebuild(t: dict[str, Tensor]) -> Any:
        own = of_shares({k.removeprefix("mixture "): v for k, v in t.items() if k.startswith("mixture ")})
        each = of_parts({k.removeprefix("part "): v for k, v in t.items() if k.startswith("part ")})
        return type(law)(own, each)

    return named, rebuild


def laws(
    model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any], which: str
) -> Generator[dict[str, tuple[Any, Any]], None, None]:
    """Laws of the model's ``which`` sites ("data" or "open") in chunks of draws: ``{site: (law [chunk, …], observed)}``.

    ``sites`` are ``[draw, *shape]``. A model or a law that cannot be batched, or whose first draw comes out otherwise
    when it is run alone, goes draw by draw, in chunks of one.
    """
    device, dtype = place_of(args, sites)
    tensors = [a for a in args if isinstance(a, Tensor)]
    count = len(next(iter(sites.values())))
    chunk = max(1, NUMBERS // max([max(16 * len(t), t.numel()) for t in tensors if t.dim()], default=1))
    chunk = min(chunk, max(1, BYTES // max(_bytes(sites), 1)))
    kept: dict[str, Any] = {}
    observed: dict[str, Tensor] = {}

    def run(values: Mapping[str, Tensor]) -> Catch:
        with Catch(values) as catch:
            model(*args, **kwargs)
        if which == "data" and catch.blind:
            raise SummedOut(
                f"sites {sorted(catch.blind)} have neither draws nor values (discrete ones, that the fit summed out?), and "
                "the laws of data after them are not known without: give their values, or write the sum into the law, such "
                "as MixtureSameFamily for a mixture"
            )
        return catch

    def parameters(values: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        catch, out = run(values), {}
        for name, law in getattr(catch, which).items():
            out[name], kept[name] = _parameters(law)
        observed.update(catch.observed)
        return out

    batched = True
    for at in range(0, count, chunk):
        safe_point()
        some = {name: value[at : at + chunk].to(device) for name, value in sites.items()}
        with _quiet(device, dtype):
            try:
                stacked = vmap(parameters)(some) if batched else {}
                made = {n: (kept[n](t), observed.get(n)) for n, t in stacked.items()}
            except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):
                made = {}
            if made and at == 0:
                with _explained():
                    first = run({name: value[0] for name, value in some.items()})
                batched = _same_laws(made, getattr(first, which))
            if made and batched:
                yield made
                continue
            for i in range(len(next(iter(some.values())))):
                with _explained():
                    catch = run({name: value[i] for name, value in some.items()})
                yield {
                    n: (law.expand((1, *law.batch_shape)), catch.observed.get(n)) for n, law in getattr(catch, which).items()
                }


def _same_laws(made: Mapping[str, tuple[Any, Any]], wanted: Mapping[str, Any]) -> bool:
    """Whether the first of a batch of laws is the law that the model gives at that draw alone: torch's rules for batching
    fused kernels are not all right."""
    for name, law in wanted.items():
        try:
            own, _ = _parameters(law)
            stacked, _ = _parameters(made[name][0])
        except NotImplementedError:
            return False
        slack = 1e-9 if any(v.dtype == torch.float64 for v in own.values()) else 1e-3
        if not all(close(stacked[k].expand(len(stacked[k]), *v.shape)[0], v, slack) for k, v in own.items()):
            return False
    return made.keys() == wanted.keys()


@contextmanager
def _explained() -> Iterator[None]:
    """What a model that cannot run on new arguments says, as an error about the data."""
    try:
        yield
    except (DataError, ModelError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"the model fails with these arguments: {str(error).split('Trace Shapes:')[0].strip()}") from error


def _bytes(sites: Mapping[str, Any]) -> int:
    """Of one of the draws ``[draw, *shape]``."""
    return sum(prod(value.shape[1:]) * value.dtype.itemsize for value in sites.values())


def place_of(args: tuple[Any, ...], sites: Mapping[str, Tensor]) -> tuple[torch.device, torch.dtype]:
    device = next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
    return device, next(iter(sites.values())).dtype


def _quiet(device: torch.device, dtype: torch.dtype) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(torch.no_grad())
    stack.enter_context(factory(device, dtype))
    stack.enter_context(pyro.validation_enabled(False))
    stack.enter_context(quiet())
    return stack


Read = Callable[[Any, Any], dict[str, Tensor]]


@alone()
@gently()
def replay(
    model: Model,
    sites: Mapping[str, Tensor],
    args: tuple[Any, ...],
    read: Read,
    *,
    kwargs: Mapping[str, Any] | None = None,
    which: str = "data",
    seed: int = 0,
) -> dict[str, dict[str, Tensor]]:
    """``read(law, observed)`` of every site at every draw: ``{site: {name: [chain, draw, …]}}``, on the CPU.

    ``sites`` are ``[chain, draw, *shape]``; random draws inside depend on ``seed`` alone. A BNN's rows are independent, so
    many of them go through in blocks of ``ROWS``; other models run whole. Raises DataError, after the first block, where the
    results do not fit in the memory that is free.
    """
    batch = next(iter(sites.values())).shape[:2]
    flat = {name: flattened(value) for name, value in sites.items()}
    count = len(args[0]) if rows_alone(model) and len(args[0]) > ROWS else None
    whole = Whole(prod(batch), count)
    with seeded(seed, place_of(args, sites)[0]), torch.no_grad():
        for row in range(0, count or 1, ROWS):
            block = args if count is None else tuple(a[row : row + ROWS] for a in args)
            draw = 0
            with closing(laws(model, flat, block, kwargs or {}, which)) as found:
                for made in found:
                    parts = {site: read(*pair) for site, pair in made.items()}
                    whole.put(parts, draw, row)
                    draw += max((len(v) for values in parts.values() for v in values.values()), default=0)
    return {s: {k: v.reshape(*batch, *v.shape[1:]) for k, v in values.items()} for s, values in whole.arrays.items()}


@alone()
@gently()
def deterministics(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...]) -> dict[str, Tensor]:
    """Values of ``pyro.deterministic`` sites at every draw: ``{site: [chain, draw, *shape]}``; a BNN has none."""
    batch = next(iter(sites.values())).shape[:2]
    device, dtype = place_of(args, sites)

    def run(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with Catch(values) as catch:
            model(*args)
        return catch.fixed

    flat = {n: flattened(v) for n, v in sites.items()}
    chunk = min(64, max(1, BYTES // max(_bytes(flat), 1)))
    with _quiet(device, dtype):
        if not run({name: value[0].to(device) for name, value in flat.items()}):
            return {}
        try:
            parts = [
                {n: v.cpu() for n, v in vmap(run)({n: v[at : at + chunk].to(device) for n, v in flat.items()}).items()}
                for at in range(0, prod(batch), chunk)
            ]
            out = {n: torch.cat([part[n] for part in parts]) for n in parts[0]}
        except (RuntimeError, ValueError, TypeError):  # a model that cannot be batched
            each = [run({n: v[i].to(device) for n, v in flat.items()}) for i in range(prod(batch))]
            whole = {n for n in each[0] if all(n in one and one[n].shape == each[0][n].shape for one in each)}
            if left := sorted({n for one in each for n in one} - whole):
                warnings.warn(
                    f"deterministic sites whose shape changes from draw to draw are left out: {left}", stacklevel=3
                )
            out = {n: torch.stack([one[n] for one in each]) for n in each[0] if n in whole}
    return {name: value.reshape(*batch, *value.shape[1:]).cpu() for name, value in out.items()}
