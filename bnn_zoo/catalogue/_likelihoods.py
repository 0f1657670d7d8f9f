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
    yield law("Bernoulli", "bernoulli", "two classes", outputs=1, y=())
    yield law("Categorical", "categorical", "several classes, of a row or of each of its pixels", outputs=3, y=())
