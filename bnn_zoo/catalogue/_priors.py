"""Rows of the catalogue: priors and their scales."""

from __future__ import annotations

from collections.abc import Iterator

from ._entry import Entry


def rows() -> Iterator[Entry]:
    def law(name: str, module: str, line: str, year: int | None = None, reference: str = "", tiny: str = "") -> Entry:
        return Entry(name, "prior", module, line, year, reference, tiny or f"bz.priors.{name}(0.5)")

    yield law("Normal", "normal", "weight decay: normal around 0")
    yield law("Laplace", "laplace", "double exponential around 0; its mode is the lasso", 1996, "Tibshirani")
    yield law(
        "StudentT",
        "student_t",
        "heavier tails than the normal, by degrees of freedom",
        tiny="bz.priors.StudentT(0.5, df=5.0)",
    )
    yield law("Horseshoe", "horseshoe", "sparse: a scale for each weight and one for all", 2010, "Carvalho, Polson & Scott")
    yield law("HalfNormal", "half_normal", "on positive numbers, for scales")
    yield law("HalfCauchy", "half_cauchy", "on positive numbers, for scales of groups", 2006, "Gelman")
    yield law(
        "LogUniform",
        "log_uniform",
        "density 1/|w|, improper: of sparse variational dropout",
        2015,
        "Kingma, Salimans & Welling",
        "bz.priors.LogUniform()",
    )
    yield law(
        "PerSite",
        "per_site",
        "another prior for each weight, chosen by a pattern of names",
        tiny="bz.priors.PerSite({'*.bias': bz.priors.Normal(1.0), '*': bz.priors.Laplace(0.5)})",
    )
    yield Entry(
        "fan_in",
        "scale",
        "scale",
        "1/√(inputs of a unit): unit variance in, unit variance out",
        1996,
        "Neal",
        "bz.priors.Normal(bz.priors.fan_in)",
    )
