"""Priors over weights: ``(name, shape) -> Distribution``. Law × scale × hierarchy is composition.

``Normal(1.0)``, ``Laplace(scale=fan_in)``, ``Normal(scale=HalfCauchy(1.0))``,
``PerSite({"*.bias": Normal(1.0), "*": Horseshoe()})``.
"""

from .cauchy import Cauchy
from .gamma_precision import GammaPrecision
from .gaussian_mixture import GaussianMixture
from .gen_normal import GenNormal
from .groups import PerInput, PerUnit
from .half_cauchy import HalfCauchy
from .half_normal import HalfNormal
from .horseshoe import Horseshoe
from .laplace import Laplace
from .log_normal import LogNormal
from .log_uniform import LogUniform
from .matrix_normal import MatrixNormal
from .normal import Normal
from .per_site import PerSite
from .regularised_horseshoe import RegularisedHorseshoe
from .scale import fan_in, fan_in_plus_one, glorot, he
from .scale_mixture import ScaleMixture
from .shared import Shared
from .spatial_normal import SpatialNormal
from .student_t import StudentT
from .uniform import Uniform

__all__ = [
    "Cauchy",
    "GammaPrecision",
    "GaussianMixture",
    "GenNormal",
    "HalfCauchy",
    "HalfNormal",
    "Horseshoe",
    "Laplace",
    "LogNormal",
    "LogUniform",
    "MatrixNormal",
    "Normal",
    "PerInput",
    "PerSite",
    "PerUnit",
    "RegularisedHorseshoe",
    "ScaleMixture",
    "Shared",
    "SpatialNormal",
    "StudentT",
    "Uniform",
    "fan_in",
    "fan_in_plus_one",
    "glorot",
    "he",
]
