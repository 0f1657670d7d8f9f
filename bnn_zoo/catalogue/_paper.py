"""A row of a published model."""

from __future__ import annotations

from ._entry import Entry


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
