"""The pages of the documentation, for the tests that read and run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page, kind="python"):
    """The code of a page in one language, a text for each block."""
    return [text for language, text in BLOCK.findall((DOCS / f"{page}.md").read_text()) if language == kind]


def run(page, *smaller):
    """Execute a page's code in one space; ``smaller``: pairs of what to put in place of what, which must be there."""
    code = "\n".join(blocks(page))
    for old, new in smaller:
        assert old in code, f"{page} has no {old!r} any more"
        code = code.replace(old, new)
    space: dict = {"__name__": "page"}
    exec(compile(code, f"docs/{page}.md", "exec"), space)
    return space
