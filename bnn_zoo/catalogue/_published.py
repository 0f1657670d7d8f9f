"""Rows of the catalogue: published models."""

from __future__ import annotations

from collections.abc import Iterator

from ._entry import Entry


def rows() -> Iterator[Entry]:
    def paper(
        name: str,
        module: str,
        line: str,
        year: int,
        reference: str,
        *,
        net: str,
        weights: int,
        prior: str,
        likelihood: str,
        data: str,
        temperature: str = "1",
        tiny: str = "",
        x: tuple[int, ...] = (),
        classes: int = 0,
        rows: str = "",
    ) -> Entry:
        targets = {0: "torch.randn(20)", 2: "(torch.arange(20) % 2).float()"}.get(classes, f"torch.arange(20) % {classes}")
        inputs = ", ".join(map(str, (20, *x)))
        facts = {
            "architecture": net,
            "weights": weights,
            "prior": prior,
            "likelihood": likelihood,
            "data": data,
            "temperature": temperature,
            "x": x,
            "rows": rows or f"torch.randn({inputs}), {targets}",
        }
        return Entry(name, "published", module, line, year, reference, tiny or f"bz.zoo.{name}()", facts)

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
        "blundell_mnist",
        "blundell_2015",
        "digits by Bayes by Backprop",
        2015,
        "Blundell et al.",
        net="784-400-400-10 ReLU",
        weights=478_410,
        prior="spike and slab: ½ N(0, 1) + ½ N(0, e⁻¹²)",
        likelihood="Categorical",
        data="MNIST, pixels over 126",
        tiny="bz.zoo.blundell_mnist(width=4)",
        x=(784,),
        classes=10,
    )
    yield paper(
        "li_mnist",
        "li_2016",
        "digits by preconditioned SGLD",
        2016,
        "Li, Chen, Carlson & Carin",
        net="784-400-400-10 ReLU",
        weights=478_410,
        prior="N(0, 1)",
        likelihood="Categorical",
        data="MNIST",
        temperature="1/N in the authors' program",
        tiny="bz.zoo.li_mnist(width=4)",
        x=(784,),
        classes=10,
    )
    yield paper(
        "tran_regression",
        "tran_2022",
        "the plain prior that one matched in function space replaces",
        2022,
        "Tran, Rossi, Milios & Filippone",
        net="1-50-50-50-1 tanh",
        weights=5_251,
        prior="N(0, 1)",
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
        prior="N(0, 1)",
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
        likelihood="Gaussian, variance 0.1",
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
