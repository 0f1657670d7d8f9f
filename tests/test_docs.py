"""The documentation: links lead somewhere, a test runs all code, every benchmark is listed, the gallery has its pictures."""

import json
import re
import runpy
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import pytest
from pages import DOCS, ROOT, blocks

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md"), *DOCS.glob("zoo/*.md")])
ELSEWHERE = {"priors", "images", "likelihoods", "plots", "runs", "compression", "README"}
RUN_IN = {**dict.fromkeys(ELSEWHERE, "test_readme"), "estimators": "test_estimators", "extend": "test_extend"}
"""Pages whose code other files of tests run."""


# ------------------------------------------------------------------------------------------------------------ links


def slug(heading):
    """The anchor of a heading, as MyST makes it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower().replace(" ", "-").replace("`", ""))


def anchors(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#{1,3} (.+)$", text, re.M)}


def target_of(link, page):
    """The file that a link without a scheme leads to; pages and notebooks may be called without their ending."""
    place = page.parent / link
    for path in (place, place.with_name(place.name + ".md"), place.with_name(place.name + ".ipynb")):
        if path.exists():
            return path
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|``.*?``|`[^`]*`", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        path = target_of(name, page) if name else page
        assert path is not None, f"{page.name}: nothing at {link}"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {path.name} has no heading for #{anchor}"


def test_notebooks_link_to_what_is_there():
    for notebook in DOCS.glob("*.ipynb"):
        cells = json.loads(notebook.read_text())["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for link in re.findall(r"\]\(([^)\s#]+)\)", text):
            assert re.match(r"https?://", link) or target_of(link, notebook), f"{notebook.name}: nothing at {link}"


# ------------------------------------------------------------------------------------------------- all of it is there


def test_every_page_with_code_is_run():
    """In this file or test_docs_code.py by name, or in the file of tests that ``RUN_IN`` says, which reads it."""
    here = (ROOT / "tests" / "test_docs_code.py").read_text() + Path(__file__).read_text()
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        if not re.search(r"^```python", page.read_text(), re.M):
            continue
        where = (ROOT / "tests" / f"{RUN_IN[page.stem]}.py").read_text() if page.stem in RUN_IN else here
        assert f'"{page.stem}' in where or f"{page.stem}.md" in where, f"no test runs the code of {page.name}"


def test_excerpts_of_the_architecture_are_the_source():
    source = "\n".join(p.read_text() for folder in ("priors", "catalogue") for p in (ROOT / "bnn_zoo" / folder).glob("*.py"))
    for excerpt in blocks("architecture"):
        assert re.sub(r"\s+", "", excerpt) in re.sub(r"\s+", "", source), excerpt


def test_every_benchmark_is_listed_with_options_that_it_has():
    page = (DOCS / "benchmarks.md").read_text()
    commands = re.findall(r"`(\w+\.py)([^`|]*)`", page)
    scripts = {path.name: path.read_text() for path in (ROOT / "tests" / "benchmarks").glob("[!_]*.py")}
    common = (ROOT / "tests" / "benchmarks" / "_common.py").read_text()
    assert {name for name, _ in commands} == set(scripts)
    for name, options in commands:
        for option in re.findall(r"--[\w-]+", options):
            assert f'"{option}"' in scripts[name] + common, f"{name} has no {option}"


def test_gallery_of_notebooks(tmp_path):
    """A card each, in the order of the front page; the picture is the tagged one, else the first."""
    image = pytest.importorskip("PIL.Image")
    conf = runpy.run_path(str(DOCS / "conf.py"))

    def cell(colour, *tags):
        png = BytesIO()
        image.new("RGB", (900, 300), colour).save(png, "PNG")
        return {
            "cell_type": "code",
            "source": [],
            "metadata": {"tags": [*tags]},
            "outputs": [{"data": {"image/png": b64encode(png.getvalue()).decode()}}],
        }

    def notebook(name, title, *cells):
        first = {"cell_type": "markdown", "source": [f"# {title}\n", "\n", "Words."], "metadata": {}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [first, *cells]}))

    (tmp_path / "index.md").write_text("```{toctree}\nzebra\napple\n```\n")
    notebook("apple", "Is it red?", cell("red"), cell("green", "thumbnail"))
    notebook("zebra", "Stripes", cell("blue"), cell("white"))
    notebook("new", "Not in the index", {"cell_type": "code", "source": [], "metadata": {}, "outputs": []})
    conf["gallery"](tmp_path)
    cards = (tmp_path / "_gallery" / "cards.md").read_text()
    assert cards.index("Stripes") < cards.index("Is it red?") < cards.index("Not in the index")
    assert "![Is it red?](_gallery/apple.png)](apple)" in cards and "new.png" not in cards
    for name, colour in (("apple", (0, 128, 0)), ("zebra", (0, 0, 255))):
        made = image.open(tmp_path / "_gallery" / f"{name}.png").convert("RGB")
        assert made.size == (560, 187) and made.getpixel((5, 5)) == colour
