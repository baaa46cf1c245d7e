"""Print pip constraints for the oldest releases that ``pyproject.toml`` allows, one a line.

    python3 .ci/lowest.py [EXTRA ...] > lowest.txt && pip install -c lowest.txt '.[EXTRA,...]'

``numpy>=2.0`` becomes ``numpy==2.0.*``: the oldest series, with its own repairs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def constraints(project: dict[str, object], extras: list[str]) -> list[str]:
    """Return a constraint for each requirement of the project and of some of its extras.

    Examples
    --------
    >>> constraints({"dependencies": ["numpy>=2.0", "click>=8.1; sys_platform == 'linux'"]}, [])
    ['numpy==2.0.*', 'click==8.1.*']
    """
    optional = project.get("optional-dependencies", {})
    needed = [*project["dependencies"], *(one for extra in extras for one in optional[extra])]
    found = []
    for requirement in needed:
        match = _FLOOR.match(requirement)
        if match is None:
            sys.exit(f"{requirement}: a requirement says its oldest release, as in numpy>=2.0.")
        found.append(f"{match[1]}=={match[2]}.*")
    return found


if __name__ == "__main__":
    content = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    print("\n".join(constraints(content["project"], sys.argv[1:])))
