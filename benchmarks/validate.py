"""Compare what dock reads and computes with the codes' own output; write docs/validation.md.

    python benchmarks/validate.py [--print] [-o docs/validation.md]

Every row comes from ``rows()`` of tests/validation.py: code, system, quantity, deviation, limit,
unit. A deviation above its limit makes the exit code 1.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dock import __version__

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Validation

What `dock` reads and computes, compared with what each code printed or stored itself. Made by
`python benchmarks/validate.py` (dock {version}, Python {python}); do not edit by hand. The tests
hold the same limits. Systems that do not come with the repository are compared where the
reference data are.

"""


class Row(NamedTuple):
    """One comparison."""

    code: str
    system: str
    quantity: str
    deviation: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the deviation is within its limit; a NaN is not."""
        return self.deviation <= self.limit


def page(rows: Iterable[Row]) -> str:
    """Return the page: a table for each code."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.code, []).append(row)
    parts = [HEAD.format(version=__version__, python=platform.python_version())]
    for code, members in groups.items():
        parts.append(f"## {code}\n\n| system | quantity | deviation | limit | unit |\n")
        parts.append("| --- | --- | --- | --- | --- |\n")
        for row in members:
            mark = "" if row.holds else " **too large**"
            figures = f"{row.deviation:.1e}{mark} | {row.limit:.0e}"
            parts.append(f"| {row.system} | {row.quantity} | {figures} | {row.unit} |\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def main() -> int:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="show", help="print, write nothing")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "validation.md")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from validation import rows

    found = [Row(*row) for row in rows()]
    text = page(found)
    if options.show:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
        print(f"{options.output}: {len(found)} comparisons")
    return 0 if all(row.holds for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
