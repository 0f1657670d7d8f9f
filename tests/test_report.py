"""The page of a comparison: whole, self-contained, with a sentence for each thing to doubt."""

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
import typer
from typer.testing import CliRunner

import bnn_zoo as bz
from bnn_zoo import cli, comparison, comparison_report
from bnn_zoo.data import Table
from bnn_zoo.report import Findings, Page, Picture, doubts, write
from bnn_zoo.report.doubts import NOTHING

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
VOID = {"meta", "img", "br", "hr", "link", "input"}
WELL = Findings(
    chains=4, draws=300, rhat=1.003, ess=900.0, inside=0.9, nominal=0.9, inside_se=0.03, exact="yes", family="MCMC", rows=354
)


class Parsed(HTMLParser):
    """Open and closed tags in balance; attributes, and texts by the tags that they stand in."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((tuple(self.open), data.strip()))

    def of(self, *tags):
        return [text for place, text in self.texts if set(tags) <= set(place)]


def page(**changes):
    made = Page(
        title="wine: NUTS, MAP",
        summary="One network under 2 backends.",
        cells=[["backend", "RMSE", "max R-hat"], ["NUTS", "0.61", "1.002"], ["MAP", "0.66", "–"]],
        legend="RMSE in units of quality.",
        doubts={"NUTS": [NOTHING], "MAP": ["By construction …"]},
    )
    return replace(made, **changes)


def read(made, tmp_path):
    text = write(made, tmp_path / "report.html").read_text(encoding="utf-8")
    return text, Parsed(text)


def test_a_page_has_everything_and_asks_for_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "NUTS-trace.png").write_bytes(PNG + b"end")
    pictures = [
        Picture(tmp_path / "a.png", "Calibration", "On the line is well."),
        Picture(tmp_path / "NUTS-trace.png", "NUTS: traces", "Alike is well.", about="NUTS"),
        Picture(tmp_path / "missing.png", "Never drawn", ""),
    ]
    text, parsed = read(
        page(pictures=pictures, command="bnn-zoo compare --seed 3", facts={"torch": "2.9"}, date="2031-02-03 04:05 UTC"),
        tmp_path,
    )
    assert text.startswith("<!doctype html>")
    assert parsed.of("tbody", "th") == ["NUTS", "MAP"] and parsed.of("tbody", "td") == ["0.61", "1.002", "0.66", "–"]
    assert parsed.of("thead", "th") == ["backend", "RMSE", "max R-hat"]
    sources = [value for _, name, value in parsed.attributes if name == "src"]
    assert [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in sources] == [PNG, PNG + b"end"]
    assert parsed.of("figcaption") == ["On the line is well.", "Alike is well."]
    assert parsed.of("summary") == ["Chains of NUTS"] and "Never drawn" not in text
    assert parsed.of("pre") == ["bnn-zoo compare --seed 3"]
    assert parsed.of("table", "th")[-2:] == ["date", "torch"] and parsed.of("table", "td")[-2:] == [
        "2031-02-03 04:05 UTC",
        "2.9",
    ]
    assert NOTHING in parsed.of("li")
    assert ("meta", "content", "width=device-width, initial-scale=1") in parsed.attributes
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|<iframe", text)
    places = {value for _, name, value in parsed.attributes if name == "id"}
    assert {value[1:] for tag, name, value in parsed.attributes if (tag, name) == ("a", "href")} == places


def test_what_users_name_is_text_and_no_markup(tmp_path):
    evil = '<img src=x onerror="alert(1)">&amp;'
    made = page(
        title=evil,
        summary=evil,
        cells=[["backend", evil], [evil, evil]],
        legend=evil,
        doubts={evil: [evil]},
        notes=[evil],
        failed={evil: evil},
        command=evil,
        facts={evil: evil},
        files=[evil],
    )
    text, parsed = read(made, tmp_path)
    assert "<img" not in text and not [a for a in parsed.attributes if a[1].startswith("on")]
    assert sum(evil in t for _, t in parsed.texts) >= 10


def test_a_page_without_pictures_has_no_empty_room_for_them(tmp_path):
    text, parsed = read(page(), tmp_path)
    assert "Pictures" not in " ".join(parsed.of("main"))
    assert "<pre>" not in text


def test_a_good_run_raises_no_doubt():
    assert doubts(WELL) == [NOTHING]


@pytest.mark.parametrize(
    "bad, said",
    [
        ({"rhat": 1.3}, "R-hat of f is 1.3 at worst, where 1.01 is well: the chains do not describe one law"),
        ({"rhat": 1.02}, "R-hat of f is 1.020 at worst, a little above 1.01"),
        ({"rhat": 1.2, "draws": 12}, "which 12 draws of a chain reach by chance"),
        ({"rhat": math.inf}, "R-hat of f is inf at worst"),
        ({"chains": 1, "rhat": math.nan}, "One of the chains alone"),
        ({"ess": 25.0}, "Only 25 effective draws at worst of 1,200: a predictive mean is known to 20 % of its posterior sd"),
        ({"divergences": 37}, "37 of 1,200 transitions diverged"),
        ({"inside": 0.75}, "75 % of the test rows lie in their 90 % intervals, where 90 ± 3.0 % would be calibrated"),
        ({"inside": 0.75}, "predictions are too sure"),
        ({"inside": 0.99}, "too cautious"),
        ({"best": "HMC", "behind": 0.05, "behind_se": 0.01}, "predicts worse than HMC, by 0.050 ± 0.010 nats a test row"),
        ({"best": "HMC", "behind": 0.01, "behind_se": 0.01}, "Whether it predicts worse than HMC these test rows"),
        ({"exact": "ignores correlations of weights", "family": "variational"}, "A variational approximation"),
        ({"exact": "a point", "family": "point"}, "not draws from the posterior up to Monte Carlo error: a point."),
        ({"rhat": 1.3, "family": "variational", "exact": "ignores"}, "the restarts ended in different optima"),
        ({"high_k": 12}, "12 of 354 training rows have a Pareto k that is too high"),
        ({"said": "2 of 4 chains never moved"}, "The fit itself warned: 2 of 4 chains never moved"),
    ],
)  # fmt: skip
def test_a_bad_diagnostic_is_a_sentence(bad, said, tmp_path):
    found = doubts(replace(WELL, **bad))
    assert any(said in sentence for sentence in found), found
    assert NOTHING not in found
    _, parsed = read(page(doubts={"NUTS": found}), tmp_path)
    assert set(found) <= set(parsed.of("li"))


def test_points_are_not_blamed_for_having_no_chains():
    assert doubts(replace(WELL, chains=1, draws=1, rhat=math.nan, ess=math.nan)) == [NOTHING]


def outcome(mean, y, stats=None, scale=1.0, name="NUTS", draws=60):
    """As a comparison has it: draws near ``mean [n]`` of a model whose noise is 1."""
    g = torch.Generator().manual_seed(0)
    f = mean + 0.1 * torch.randn(2, draws, len(y), generator=g)

    class Prediction:
        draws = f + scale * torch.randn(f.shape, generator=g)

        def log_prob(self, y):
            return torch.distributions.Normal(f, scale).log_prob(y).flatten(0, 1).logsumexp(0) - math.log(2 * f.shape[1])

    Prediction.f, Prediction.mean = f, f.mean((0, 1))
    made = bz.types.Draws({"w": f[..., :1]}, stats or {}, attrs={"seed": 0, "doubts": None})
    row = {"max R-hat": 1.0, "min ESS": 120.0, "seconds": 1.0, "gradients": 100}
    return comparison.Outcome(bz.Posterior(None, (), made), Prediction(), Prediction.draws, row)


def test_findings_are_those_of_the_draws(tmp_path):
    g = torch.Generator().manual_seed(1)
    y = torch.randn(200, generator=g)
    x = torch.zeros(200, 2)
    table = Table("made", x, y, x, y, ("a", "b"), "y")
    diverging = {"diverging": torch.arange(120).reshape(2, 60) < 7}
    outcomes = {"NUTS": outcome(torch.zeros(200), y, diverging), "MeanField": outcome(torch.full((200,), 2.0), y, scale=0.5)}
    (tmp_path / "loo.csv").write_text(",rank,high_k\nNUTS,0,3\nMeanField,1,0\n")
    found = comparison_report.findings(table, outcomes, tmp_path)
    nuts, mean_field = found["NUTS"], found["MeanField"]
    assert nuts.divergences == 7 and nuts.high_k == 3 and nuts.best == "" and nuts.exact == "yes"
    assert abs(nuts.inside - 0.9) < 0.06 and nuts.nominal == 0.9
    assert math.isclose(nuts.inside_se, math.sqrt(0.9 * 0.1 / 200))
    assert mean_field.best == "NUTS" and mean_field.family == "variational" and mean_field.inside < 0.3
    gap = outcomes["NUTS"].prediction.log_prob(y) - outcomes["MeanField"].prediction.log_prob(y)
    assert math.isclose(mean_field.behind, float(gap.mean()), rel_tol=1e-4)
    assert math.isclose(mean_field.behind_se, float(gap.std() / 200**0.5), rel_tol=1e-4)


def test_the_command_is_what_was_given():
    seen = []
    app = typer.Typer()

    @app.command()
    def compare(
        context: typer.Context,
        data: str = "diabetes",
        drop: list[str] = typer.Option([]),  # noqa: B008
        seed: int = 0,
        progress: bool = True,
    ):
        seen.append(cli._command(context))

    @app.command()
    def other():
        """Two commands, so that the first has a name."""

    given = ["compare", "--data", "my file.csv", "--drop", "a", "--drop", "b;c", "--no-progress"]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert CliRunner().invoke(app, ["compare", "--progress"]).exit_code == 0
    assert seen == [
        "bnn-zoo compare --data 'my file.csv' --drop a --drop 'b;c' --no-progress",
        "bnn-zoo compare --progress",
    ]
