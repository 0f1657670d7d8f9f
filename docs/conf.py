"""Sphinx settings. Build with ``sphinx-build -W docs docs/_build/html``."""

import bnn_zoo

project = "bnn_zoo"
author = "the authors of bnn_zoo"
release = bnn_zoo.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"bnn_zoo {release}"

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


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars)
