"""Sphinx settings. Build with ``sphinx-build -W docs docs/_build/html``."""

import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

from PIL import Image

import bnn_zoo

DOCS = Path(__file__).parent
project = "bnn_zoo"
author = "the authors of bnn_zoo"
release = bnn_zoo.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_gallery", "jupyter_execute"]
html_theme = "furo"
html_title = f"bnn_zoo {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

nb_execution_mode = "off"  # pages show the outputs that are committed
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"


def escape_bars(app, what, name, obj, options, lines):
    """Bars in docstrings mean absolute values, not reStructuredText's substitutions."""
    for i, line in enumerate(lines):
        parts = line.split("``")  # every second part is code
        lines[i] = "``".join(part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))


def picture(cells):
    """The PNG for the gallery, in base64: of a cell that is tagged ``thumbnail``, else the first that there is, else None."""
    found = [
        (cell, output["data"]["image/png"])
        for cell in cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", ())
    ]
    tagged = [png for cell, png in found if "thumbnail" in cell["metadata"].get("tags", ())]
    return next(iter([*tagged, *(png for _, png in found)]), None)


def gallery(docs=DOCS):
    """Cards of all notebooks in ``docs``, in the order of index.md, as ``_gallery/cards.md``: picture and title, both links."""
    out = docs / "_gallery"
    out.mkdir(exist_ok=True)
    lines = [line.strip() for line in (docs / "index.md").read_text().splitlines()]
    place = {path: lines.index(path.stem) if path.stem in lines else len(lines) for path in docs.glob("*.ipynb")}
    cards = []
    for path in sorted(place, key=lambda path: (place[path], path.stem)):
        cells = json.loads(path.read_text())["cells"]
        (title, *_) = re.findall(r"^# (.+)$", "".join(cells[0]["source"]), re.M) or [path.stem]
        card = f"**[{title}]({path.stem})**"
        if png := picture(cells):
            image = Image.open(BytesIO(b64decode(png))).convert("RGB")
            image = image.crop((0, 0, image.width, min(image.height, round(0.7 * image.width))))  # the top of a tall one
            image.thumbnail((560, 392))
            image.quantize(256).save(out / f"{path.stem}.png", optimize=True)
            card = f"[![{title}](_gallery/{path.stem}.png)]({path.stem})\n\n{card}"
        cards.append(f":::{{container}} card\n{card}\n:::\n")
    (out / "cards.md").write_text("::::{container} cards\n" + "\n".join(cards) + "::::\n")


def setup(app):
    app.connect("builder-inited", lambda app: gallery())
    app.connect("autodoc-process-docstring", escape_bars)
