"""Rows of the catalogue: likelihoods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._entry import Entry


def rows() -> Iterator[Entry]:
    def law(name: str, module: str, line: str, tiny: str = "", **facts: Any) -> Entry:
        return Entry(name, "likelihood", module, line, tiny=tiny or f"bz.likelihoods.{name}()", facts=facts)

    yield law("Gaussian", "gaussian", "normal noise of one size, known or inferred", outputs=1, y=())
    yield Entry(
        "HeteroscedasticGaussian",
        "likelihood",
        "heteroscedastic",
        "normal noise whose size the network predicts",
        1994,
        "Nix & Weigend",
        "bz.likelihoods.HeteroscedasticGaussian()",
        {"outputs": 2, "y": ()},
    )
    yield Entry(
        "MultivariateNormal",
        "likelihood",
        "multivariate_normal",
        "normal noise, correlated between the columns of y",
        2009,
        "Lewandowski, Kurowicka & Joe",
        "bz.likelihoods.MultivariateNormal()",
        {"outputs": 2, "y": (2,)},
    )
    yield Entry(
        "MixtureDensity",
        "likelihood",
        "mixture_density",
        "several modes: a mixture of normals that the network predicts",
        1994,
        "Bishop",
        "bz.likelihoods.MixtureDensity(3)",
        {"outputs": 9, "y": ()},
    )
    yield Entry(
        "StudentT",
        "likelihood",
        "student_t",
        "noise with outliers",
        1989,
        "Lange, Little & Taylor",
        "bz.likelihoods.StudentT()",
        {"outputs": 1, "y": ()},
    )
    yield law("Laplace", "laplace", "noise of absolute errors: the network gives the median", outputs=1, y=())
    yield law("Poisson", "poisson", "counts whose variance is their mean", outputs=1, y=())
    yield Entry(
        "NegativeBinomial",
        "likelihood",
        "negative_binomial",
        "counts that vary more than that",
        1986,
        "Cameron & Trivedi",
        "bz.likelihoods.NegativeBinomial()",
        {"outputs": 1, "y": ()},
    )
    yield Entry(
        "Beta",
        "likelihood",
        "beta",
        "shares between 0 and 1",
        2004,
        "Ferrari & Cribari-Neto",
        "bz.likelihoods.Beta()",
        {"outputs": 1, "y": ()},
    )
    yield law("Bernoulli", "bernoulli", "two classes", outputs=1, y=())
    yield law("Categorical", "categorical", "several classes, of a row or of each pixel; labels to ignore", outputs=3, y=())
    yield Entry(
        "Ordinal",
        "likelihood",
        "ordinal",
        "classes with an order",
        1980,
        "McCullagh",
        "bz.likelihoods.Ordinal(4)",
        {"outputs": 1, "y": ()},
    )
