"""The lower bounds of pyproject.toml as pins for the Python that runs this, a line each, as ``pip install -r`` reads them.

With the extra ``runs``, and of the extra ``test`` only pytest. Read from the file itself, so that the pins cannot drift from
what it promises.
"""

import tomllib
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
wanted = [
    *project["dependencies"],
    *project["optional-dependencies"]["runs"],
    *(line for line in project["optional-dependencies"]["test"] if line.startswith("pytest>")),
]
for requirement in map(Requirement, wanted):
    if requirement.marker is None or requirement.marker.evaluate():
        (low,) = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==")]
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        print(f"{requirement.name}{extras}=={low}")
