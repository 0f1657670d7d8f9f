"""Run the code of docs/plots.md and save what each block draws under the name of the picture that follows it.

``python .ci/pictures.py``. Colours are reduced to 256, which makes the files small and leaves them as they look.
"""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


def save(figure, path: Path) -> None:
    png = BytesIO()
    figure.savefig(png, dpi=90)
    Image.open(png).convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    text, space = (DOCS / "plots.md").read_text(), {}
    (DOCS / "plots").mkdir(exist_ok=True)
    for code, after in re.findall(r"```python\n(.*?)```\n+([^\n]*)", text, re.S):
        exec(compile(code, "docs/plots.md", "exec"), space)
        picture = re.match(r"!\[.*\]\(plots/(\w+)\.png\)", after)
        if picture:
            name = picture[1]
            save(np.ravel(space[name])[0].figure, DOCS / "plots" / f"{name}.png")
            print(name, flush=True)


if __name__ == "__main__":
    main()
