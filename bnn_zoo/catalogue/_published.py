"""Rows of the catalogue: published models of tables and of few inputs; those of images are in a file of their own."""

from __future__ import annotations

from collections.abc import Iterator

from . import _published_images
from ._entry import Entry
from ._paper import paper


def rows() -> Iterator[Entry]:
    yield paper(
        "neal_regression",
        "neal_1996",
        "25 weights, and a posterior with two modes",
        1996,
        "Neal",
        net="1-8-1 tanh",
        weights=25,
        prior="N(0, 1/τ), τ gamma for each group; output bias N(0, 100²)",
        likelihood="Gaussian, precision gamma",
        data="rdata of FBM, 100 rows, 1,000 to test",
        x=(1,),
    )
    yield paper(
        "neal_binary",
        "neal_1996",
        "two classes by two inputs",
        1996,
        "Neal",
        net="2-15-1 tanh",
        weights=61,
        prior="N(0, 1/τ), τ gamma for each group; output bias N(0, 100²)",
        likelihood="Bernoulli",
        data="bdata of FBM, 300 rows, 1,000 to test",
        x=(2,),
        classes=2,
    )
    yield paper(
        "neal_classes",
        "neal_1996",
        "three classes; two of four inputs switch themselves off",
        1996,
        "Neal",
        net="4-8-3 tanh",
        weights=67,
        prior="N(0, 1/τ), τ gamma for each group and each input (relevance)",
        likelihood="Categorical",
        data="cdata of FBM, 400 rows, 1,000 to test",
        x=(4,),
        classes=3,
    )
    yield paper(
        "welling_teh_mixture",
        "welling_teh_2011",
        "two tied means of a mixture: bimodal, in two dimensions",
        2011,
        "Welling & Teh",
        net="none",
        weights=2,
        prior="θ₁ ~ N(0, 10), θ₂ ~ N(0, 1)",
        likelihood="½ N(θ₁, 2) + ½ N(θ₁ + θ₂, 2)",
        data="100 draws at θ = (0, 1)",
        rows="(torch.randn(20),)",
    )
    yield paper(
        "wilson_izmailov_regression",
        "wilson_izmailov_2020",
        "three clumps of points: what ensembles say between them",
        2020,
        "Wilson & Izmailov",
        net="2-10-10-10-1 ReLU of (x, x²)",
        weights=261,
        prior="N(0, 0.001)",
        likelihood="Gaussian, variance 0.0005",
        data="120 points in three clumps, y × 10",
        x=(1,),
    )
    yield paper(
        "sharma_regression",
        "sharma_2023",
        "any of four layers random, the others trained",
        2023,
        "Sharma, Farquhar, Nalisnick & Rainforth",
        net="1-50-50-50-1 SiLU, inputs of layers over √50",
        weights=5_251,
        prior="N(0, 5251/random weights)",
        likelihood="Gaussian, sd 0.05",
        data="sin 4(x − 4.3) at 25 + 25 points",
        x=(1,),
    )
    yield paper(
        "hernandez_lobato_uci",
        "hernandez_lobato_adams_2015",
        "tables by probabilistic backpropagation",
        2015,
        "Hernández-Lobato & Adams",
        net="d-50-1 ReLU, inputs of units over √(inputs + 1)",
        weights=751,
        prior="N(0, 1/λ), λ ~ Gamma(6, 6) of the whole network",
        likelihood="Gaussian, precision Gamma(6, 6)",
        data="UCI, d inputs (boston: 13), standardised",
        x=(13,),
    )
    yield paper(
        "gal_uci",
        "gal_ghahramani_2016",
        "tables by MC dropout",
        2016,
        "Gal & Ghahramani",
        net="d-50-1 ReLU",
        weights=751,
        prior="N(0, 1/ℓ²), ℓ = 0.01",
        likelihood="Gaussian, known precision τ",
        data="UCI, d inputs (boston: 13), standardised",
        x=(13,),
    )
    yield paper(
        "tran_regression",
        "tran_2022",
        "the plain prior that one matched in function space replaces",
        2022,
        "Tran, Rossi, Milios & Filippone",
        net="1-50-50-50-1 tanh",
        weights=5_251,
        prior="N(0, 1/inputs), biases N(0, 1)",
        likelihood="Gaussian, variance 0.1",
        data="one input",
        x=(1,),
    )
    yield paper(
        "tran_uci",
        "tran_2022",
        "tables, with a prior and a noise that nobody tuned",
        2022,
        "Tran, Rossi, Milios & Filippone",
        net="d-100-1 tanh",
        weights=1_501,
        prior="N(0, 1/inputs), biases N(0, 1)",
        likelihood="Gaussian, variance 0.1",
        data="UCI, d inputs (boston: 13), standardised",
        x=(13,),
    )
    yield paper(
        "li_surrogate",
        "li_2023",
        "surrogate of a function to be optimised",
        2023,
        "Li, Rudner & Wilson",
        net="d-128-128-128-1 tanh",
        weights=33_537,
        prior="N(0, 10)",
        likelihood="Gaussian, standard deviation 0.1",
        data="Branin and others, d inputs (2)",
        x=(2,),
    )
    yield paper(
        "sommer_regression",
        "sommer_2025",
        "tables by ensembles of microcanonical chains",
        2025,
        "Sommer et al.",
        net="d-16-16-2 ReLU",
        weights=402,
        prior="N(0, 1)",
        likelihood="Gaussian with predicted mean and size of noise",
        data="UCI, d inputs (airfoil: 5)",
        x=(5,),
    )
    yield from _published_images.rows()
