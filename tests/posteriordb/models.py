"""Ten posteriors of posteriordb as plain Pyro models: nothing here knows about bnn_zoo.

Every model takes its data as positional tensors. Sites carry the names of the Stan programs. Priors that those programs
leave out are flat (``ImproperUniform``), and positive parameters have their half of a symmetric prior normalised, which
shifts the log density by a constant and nothing else. ``POSTERIORS`` holds, per file stem, the model, the builder of
its arguments and the map from draws of its sites to the parameters of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """A model with its data and its parameters.

    model
        ``model(*data(json["data"], dtype))``.
    data
        the JSON's data as the model's arguments. Covariates are worked out in float64 and rounded to ``dtype`` last.
    parameters
        ``{site: [..., *shape]} -> {parameter: [...]}``, under the names of the reference.
    """

    model: Callable[..., None]
    data: Callable[[Mapping[str, Any], torch.dtype], tuple[Any, ...]]
    parameters: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def _flat(name: str, size: int) -> Tensor:
    return pyro.sample(name, dist.ImproperUniform(constraints.real, (), (size,)))


def _flat_positive(name: str) -> Tensor:
    return pyro.sample(name, dist.ImproperUniform(constraints.positive, (), ()))


def _scalar(like: Tensor, value: float) -> Tensor:
    """A constant in the data's dtype: a bare float would become a tensor of the default dtype."""
    return like.new_full((), value)


def _normal_rows(name: str, mean: Tensor, scale: Tensor, y: Tensor) -> None:
    with pyro.plate("rows", y.shape[0]):
        pyro.sample(name, dist.Normal(mean, scale), obs=y)


# Models


def kilpisjarvi(x: Tensor, y: Tensor, pmualpha: Tensor, psalpha: Tensor, pmubeta: Tensor, psbeta: Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Normal(pmualpha, psalpha))
    beta = pyro.sample("beta", dist.Normal(pmubeta, psbeta))
    sigma = _flat_positive("sigma")
    _normal_rows("y", alpha + beta * x, sigma, y)


def flat_regression(design: Tensor, y: Tensor) -> None:
    """Linear regression with flat priors: mesquite, earnings, kidiq_with_mom_work and nes1980."""
    beta = _flat("beta", design.shape[1])
    sigma = _flat_positive("sigma")
    _normal_rows("y", design @ beta, sigma, y)


def kidscore_momhs(design: Tensor, y: Tensor) -> None:
    beta = _flat("beta", design.shape[1])
    sigma = pyro.sample("sigma", dist.HalfCauchy(_scalar(y, 2.5)))
    _normal_rows("y", design @ beta, sigma, y)


def blr(design: Tensor, y: Tensor) -> None:
    beta = pyro.sample("beta", dist.Normal(_scalar(y, 0.0), _scalar(y, 10.0)).expand([design.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(_scalar(y, 10.0)))
    _normal_rows("y", design @ beta, sigma, y)


def ark(lags: Tensor, y: Tensor) -> None:
    """Autoregression: column ``k`` of ``lags`` is the series ``k + 1`` steps before ``y``."""
    alpha = pyro.sample("alpha", dist.Normal(_scalar(y, 0.0), _scalar(y, 10.0)))
    beta = pyro.sample("beta", dist.Normal(_scalar(y, 0.0), _scalar(y, 10.0)).expand([lags.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(_scalar(y, 2.5)))
    _normal_rows("y", alpha + lags @ beta, sigma, y)


def eight_schools_noncentered(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(_scalar(y, 0.0), _scalar(y, 5.0)))
    tau = pyro.sample("tau", dist.HalfCauchy(_scalar(y, 5.0)))
    z = pyro.sample("theta_trans", dist.Normal(torch.zeros_like(y), torch.ones_like(y)).to_event(1))
    theta = pyro.deterministic("theta", mu + tau * z, event_dim=1)
    _normal_rows("y", theta, sigma, y)


def gp_regr(x: Tensor, y: Tensor) -> None:
    """Gaussian process with an RBF kernel. As in the Stan program, ``sigma`` is the variance of the noise."""
    rho = pyro.sample("rho", dist.Gamma(_scalar(y, 25.0), _scalar(y, 4.0)))
    alpha = pyro.sample("alpha", dist.HalfNormal(_scalar(y, 2.0)))
    sigma = pyro.sample("sigma", dist.HalfNormal(_scalar(y, 1.0)))
    distance = (x[:, None] - x) / rho
    cov = alpha**2 * torch.exp(-0.5 * distance**2) + sigma * torch.eye(x.shape[0], dtype=x.dtype, device=x.device)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros_like(y), scale_tril=torch.linalg.cholesky(cov)), obs=y)


# Data


def _column(data: Mapping[str, Any], name: str) -> Tensor:
    return torch.tensor(data[name], dtype=torch.float64)


def _cast(dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.to(dtype) for t in tensors)


def _design(*columns: Tensor) -> Tensor:
    """An intercept and the columns."""
    return torch.stack([torch.ones_like(columns[0]), *columns], 1)


def _kilpisjarvi_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    names = ("x", "y", "pmualpha", "psalpha", "pmubeta", "psbeta")
    return _cast(dtype, *(_column(data, name) for name in names))


def _momhs_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _cast(dtype, _design(_column(data, "mom_hs")), _column(data, "kid_score"))


def _logvolume_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    volume = _column(data, "diam1") * _column(data, "diam2") * _column(data, "canopy_height")
    return _cast(dtype, _design(volume.log()), _column(data, "weight").log())


def _logearn_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    height, male = _column(data, "height"), _column(data, "male")
    return _cast(dtype, _design(height, male, height * male), _column(data, "earn").log())


def _interaction_c_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    hs, iq = _column(data, "mom_hs"), _column(data, "mom_iq")
    hs, iq = hs - hs.mean(), iq - iq.mean()
    return _cast(dtype, _design(hs, iq, hs * iq), _column(data, "kid_score"))


def _nes_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    age = _column(data, "age_discrete")
    design = _design(
        _column(data, "real_ideo"),
        _column(data, "race_adj"),
        *((age == level).to(age.dtype) for level in (2, 3, 4)),
        _column(data, "educ1"),
        _column(data, "gender"),
        _column(data, "income"),
    )
    return _cast(dtype, design, _column(data, "partyid7"))


def _blr_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _cast(dtype, _column(data, "X"), _column(data, "y"))


def _ark_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    y, order = _column(data, "y"), data["K"]
    lags = torch.stack([y[order - k : len(y) - k] for k in range(1, order + 1)], 1)
    return _cast(dtype, lags, y[order:])


def _eight_schools_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _cast(dtype, _column(data, "y"), _column(data, "sigma"))


def _gp_regr_data(data: Mapping[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _cast(dtype, _column(data, "x"), _column(data, "y"))


# Parameters


def _named(*sites: str) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Scalar sites keep their names; a vector site, written ``beta[]``, becomes ``beta[1]``, ``beta[2]``, …"""

    def parameters(draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for site in sites:
            name = site.removesuffix("[]")
            if name == site:
                found[name] = draws[name]
            else:
                found |= {f"{name}[{i}]": column for i, column in enumerate(draws[name].unbind(-1), 1)}
        return found

    return parameters


def _eight_schools_parameters(sites: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``theta`` from the latent sites, so it does not matter whether the draws hold deterministic sites."""
    theta = sites["mu"][..., None] + sites["tau"][..., None] * sites["theta_trans"]
    return _named("theta[]", "mu", "tau")({"mu": sites["mu"], "tau": sites["tau"], "theta": theta})


_regression = _named("beta[]", "sigma")

POSTERIORS: dict[str, Posterior] = {
    "arK-arK": Posterior(ark, _ark_data, _named("alpha", "beta[]", "sigma")),
    "earnings-logearn_interaction": Posterior(flat_regression, _logearn_data, _regression),
    "eight_schools-eight_schools_noncentered": Posterior(
        eight_schools_noncentered, _eight_schools_data, _eight_schools_parameters
    ),
    "gp_pois_regr-gp_regr": Posterior(gp_regr, _gp_regr_data, _named("rho", "alpha", "sigma")),
    "kidiq-kidscore_momhs": Posterior(kidscore_momhs, _momhs_data, _regression),
    "kidiq_with_mom_work-kidscore_interaction_c": Posterior(flat_regression, _interaction_c_data, _regression),
    "kilpisjarvi_mod-kilpisjarvi": Posterior(kilpisjarvi, _kilpisjarvi_data, _named("alpha", "beta", "sigma")),
    "mesquite-logmesquite_logvolume": Posterior(flat_regression, _logvolume_data, _regression),
    "nes1980-nes": Posterior(flat_regression, _nes_data, _regression),
    "sblrc-blr": Posterior(blr, _blr_data, _regression),
}
