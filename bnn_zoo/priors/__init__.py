"""Priors over weights: ``(name, shape) -> Distribution``. Law × scale × hierarchy is composition.

``Normal(1.0)``, ``Laplace(scale=fan_in)``, ``Normal(scale=HalfCauchy(1.0))``,
``PerSite({"*.bias": Normal(1.0), "*": Horseshoe()})``.
"""

from .half_cauchy import HalfCauchy
from .half_normal import HalfNormal
from .horseshoe import Horseshoe
from .laplace import Laplace
from .log_uniform import LogUniform
from .normal import Normal
from .per_site import PerSite
from .scale import fan_in
from .student_t import StudentT

__all__ = ["HalfCauchy", "HalfNormal", "Horseshoe", "Laplace", "LogUniform", "Normal", "PerSite", "StudentT", "fan_in"]
