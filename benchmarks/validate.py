"""Compare what dock reads and computes with the codes' own output; write docs/validation.md.

    python benchmarks/validate.py [--shared FOLDER] [--print] [-o docs/validation.md]

Every row comes from ``rows()`` of tests/validation.py (OpenMX), tests/converters/validation.py (all
other codes) or tests/planewave/validation.py (projected plane waves): code, system, quantity,
deviation, limit, unit. A deviation above its limit makes the exit code 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dock import __version__

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Validation

What `dock` reads and computes, compared with what each code printed or stored itself. Every run
is converted into a unified folder, and what is read from that folder is compared. Made by
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
    remark: str = ""

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
        parts.append(f"## {code}\n\n| system | quantity | deviation | limit | unit | remark |\n")
        parts.append("| --- | --- | --- | --- | --- | --- |\n")
        for row in members:
            mark = "" if row.holds else " **too large**"
            figures = f"{row.deviation:.1e}{mark} | {row.limit:.0e}"
            # A vertical bar would end the cell, also between backquotes.
            names = f"{row.system} | {row.quantity.replace('|', '∣')}"
            parts.append(f"| {names} | {figures} | {row.unit} | {row.remark} |\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def collect(shared: Path) -> Iterator[Row]:
    """Yield the comparisons of all codes, of the data that are there."""
    os.environ["DOCK_SHARED"] = str(shared)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "converters")]
    openmx = _module("validation.py")
    yield from (Row(*row) for row in openmx.rows())
    if (shared / "fixtures").is_dir():
        others = _module("converters/validation.py")
        yield from (Row(*row, others.remark(row)) for row in others.rows(shared))
    projected = _module("planewave/validation.py")
    yield from (Row("QE onto orbitals", *row) for row in projected.rows(shared))


def _module(name: str):
    path = ROOT / "tests" / name
    spec = importlib.util.spec_from_file_location(f"figures_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="show", help="print, write nothing")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "validation.md")
    beside = Path(os.environ.get("DOCK_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=beside, help="folder of reference data")
    options = parser.parse_args()
    found = list(collect(options.shared))
    text = page(found)
    if options.show:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
        print(f"{options.output}: {len(found)} comparisons")
    return 0 if all(row.holds for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
