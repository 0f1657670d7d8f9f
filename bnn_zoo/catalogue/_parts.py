"""Rows of the catalogue: parts of backends and of variational families."""

from __future__ import annotations

from collections.abc import Iterator

from ._entry import Entry


def rows() -> Iterator[Entry]:
    def mass(name: str, module: str, line: str, year: int | None = None, reference: str = "") -> Entry:
        return Entry(name, "mass matrix", module, line, year, reference, f"bz.{name}()")

    yield Entry(
        "RowsOverRanks",
        "spread",
        "rows_over_ranks",
        "rows of the data over processes, machines and GPUs",
        None,
        "",
        "bz.RowsOverRanks(bz.NUTS())",
    )
    yield mass("DiagonalMass", "kernels.mass", "variances of the warm-up draws")
    yield mass(
        "FisherMass",
        "kernels.mass",
        "diagonal from draws and gradients: fewer draws needed",
        2026,
        "Seyboldt, Carlson & Carpenter",
    )
    yield mass(
        "LowRankFisherMass",
        "kernels.low_rank",
        "that and a few directions that correlate most",
        2026,
        "Seyboldt, Carlson & Carpenter",
    )
    yield mass("DenseMass", "kernels.dense", "the covariance of the warm-up draws: up to a few hundred dimensions")
    yield mass(
        "DenseFisherMass",
        "kernels.dense",
        "all correlations from draws and gradients: fewer draws needed",
        2026,
        "Seyboldt, Carlson & Carpenter",
    )
    for name, module, line, year, reference in (
        (
            "LocalReparameterization",
            "local_reparameterization",
            "draws a layer's output and not its weights",
            2015,
            "Kingma, Salimans & Welling",
        ),
        ("Flipout", "flipout", "flips signs of one draw for each row and unit", 2018, "Wen et al."),
        ("RowMasks", "row_masks", "another dropout mask for each row, as in training", 2014, "Srivastava et al."),
    ):
        yield Entry(name, "handler", module, line, year, reference, f"bz.handlers.{name}()")
    made = "bz.BNN(bz.nets.MLP(3, 1, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian())"
    yield Entry(
        "NonCentred",
        "effect",
        "non_centred",
        "non-centred sites, against funnels of hierarchical priors",
        2007,
        "Papaspiliopoulos, Roberts & Sköld",
        f"bz.handlers.NonCentred({made}, '*.weight')",
    )
    yield Entry(
        "Fixed",
        "effect",
        "fixed",
        "weights that are held: last-layer and partially stochastic networks",
        2023,
        "Sharma et al.",
        f"bz.handlers.Fixed({made}, '0.*', values=bz.nets.MLP(3, 1, hidden=(4,)))",
    )
    yield Entry(
        "Power",
        "effect",
        "power",
        "densities to a power: tempered likelihoods and priors",
        2017,
        "Ullrich, Meeds & Welling",
        f"bz.handlers.Power({made}, 'y', power=0.5)",
    )
    yield Entry("MeanFieldNormal", "guide", "mean_field", "independent normals on the real line", 2017, "Kucukelbir et al.")
    yield Entry(
        "ScaledNormal", "guide", "scaled", "normals times sampled scales of groups", 2017, "Louizos, Ullrich & Welling"
    )
    yield Entry("MCDropout", "guide", "dropout", "weights with dropped inputs", 2016, "Gal & Ghahramani")
    for name, line, tiny in (
        ("BestOf", "the default: the best of some tries, with a short climb", "bz.density.BestOf()"),
        ("Adam", "optima of their own, by Adam", "bz.density.Adam(10)"),
        ("FromNet", "the weights of a trained network", "bz.density.FromNet(bz.nets.MLP(3, 2, hidden=(4,)))"),
        ("from_prior", "draws from the prior", "bz.density.from_prior"),
        ("from_support", "uniform on (−2, 2) of the real line, as Stan does", "bz.density.from_support"),
    ):
        yield Entry(name, "start", "starts", line, tiny=tiny)
    line, tiny = "where the chains of another posterior ended", "bz.density.FromPosterior(posterior)"
    yield Entry("FromPosterior", "start", "from_posterior", line, tiny=tiny)
