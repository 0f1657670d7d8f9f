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
    yield law("Cauchy", "cauchy", "tails without a mean")
    yield law(
        "GenNormal",
        "gen_normal",
        "tails by a power: Laplace, normal and beyond",
        2005,
        "Nadarajah",
        "bz.priors.GenNormal(0.5, power=1.5)",
    )
    yield law("Uniform", "uniform", "on an interval around 0")
    yield law("ScaleMixture", "scale_mixture", "spike and slab: a narrow and a wide normal", 2015, "Blundell et al.")
    yield law(
        "RegularisedHorseshoe",
        "regularised_horseshoe",
        "horseshoe whose largest weights are normal",
        2017,
        "Piironen & Vehtari",
    )
    yield law(
        "GaussianMixture",
        "gaussian_mixture",
        "a mixture that is learnt: soft weight sharing",
        1992,
        "Nowlan & Hinton",
        "bz.priors.GaussianMixture(3, zero=0.5)",
    )
    yield law(
        "SpatialNormal",
        "spatial_normal",
        "normal, weights near each other in a kernel alike",
        2022,
        "Fortuin et al.",
        "bz.priors.SpatialNormal(0.5, length=1.0)",
    )
    yield law(
        "MatrixNormal",
        "matrix_normal",
        "normal, correlated between units and between inputs",
        2016,
        "Louizos & Welling",
        "bz.priors.MatrixNormal(0.5, rows=[[1.0, 0.5], [0.5, 1.0]])",
    )
    yield law("HalfNormal", "half_normal", "on positive numbers, for scales")
    yield law("HalfCauchy", "half_cauchy", "on positive numbers, for scales of groups", 2006, "Gelman")
    yield law("LogNormal", "log_normal", "on positive numbers, for scales known up to factors")
    yield law(
        "GammaPrecision",
        "gamma_precision",
        "for scales: gamma on the precision, as Neal writes width:alpha",
        1996,
        "Neal",
        "bz.priors.GammaPrecision(0.05, alpha=0.5)",
    )
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
    yield law(
        "Shared",
        "shared",
        "hyperparameters that weights have in common",
        tiny="bz.priors.Shared(bz.priors.Normal(bz.priors.HalfCauchy(1.0)), 'net')",
    )
    for name, line, year, reference in (
        ("PerInput", "one scale for each input of a layer: relevance is learnt", 1994, "MacKay"),
        ("PerUnit", "one scale for each unit of a layer", 1992, "MacKay"),
    ):
        yield Entry(
            name, "scale", "groups", line, year, reference, f"bz.priors.Normal(bz.priors.{name}(bz.priors.HalfCauchy(1.0)))"
        )
    for name, line, year, reference in (
        ("he", "√(2/inputs of a unit), for ReLU", 2015, "He, Zhang, Ren & Sun"),
        ("glorot", "√(2/(inputs + outputs))", 2010, "Glorot & Bengio"),
        ("fan_in_plus_one", "1/√(inputs + 1), the bias counted", 2015, "Hernández-Lobato & Adams"),
    ):
        yield Entry(name, "scale", "scale", line, year, reference, f"bz.priors.Normal(bz.priors.{name})")
    yield Entry(
        "fan_in",
        "scale",
        "scale",
        "1/√(inputs of a unit): unit variance in, unit variance out",
        1996,
        "Neal",
        "bz.priors.Normal(bz.priors.fan_in)",
    )
