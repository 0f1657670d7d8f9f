"""Run the code of docs/plots.md and save what each block draws under the name of the picture that follows it."""

import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    text, space = (DOCS / "plots.md").read_text(), {}
    for code, after in re.findall(r"```python\n(.*?)```\n+([^\n]*)", text, re.S):
        exec(compile(code, "docs/plots.md", "exec"), space)
        picture = re.match(r"!\[.*\]\(plots/(\w+)\.png\)", after)
        if picture:
            name = picture[1]
            np.ravel(space[name])[0].figure.savefig(DOCS / "plots" / f"{name}.png", dpi=60)
            print(name, flush=True)


if __name__ == "__main__":
    main()
