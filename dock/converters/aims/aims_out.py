"""The log of an FHI-aims run, ``aims.out``: version, Fermi level, electrons, convergence.

One that `dock` writes has the lines that readers of FHI-aims' output look for, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dock._version import __version__
from dock.core.calculation import Calculation
from dock.io.text import parse_number, read_text

__all__ = ["RunLog", "find_log", "format_log", "read_log"]

_HEAD = 4096  # bytes of a file in which FHI-aims names itself
_FERMI = re.compile(
    r"\|\s*Chemical potential(?: \(Fermi level\))?(?: in eV)?\s*:\s*(\S+)", re.IGNORECASE
)


@dataclass(frozen=True)
class RunLog:
    """What a log says; None where it is silent.

    Attributes
    ----------
    path
        The file.
    version
        ``240920.1``.
    fermi_level
        The last one, eV.
    n_electrons
        All electrons.
    converged
        Whether the last self-consistency cycle converged.
    """

    path: Path
    version: str
    fermi_level: float | None
    n_electrons: float | None
    converged: bool | None


def find_log(folder: Path) -> Path | None:
    """Return the log of a run: ``aims.out``, or another file in which FHI-aims names itself."""
    names = [folder / "aims.out", *sorted(folder.glob("*.out")), *sorted(folder.glob("*.log"))]
    return next((path for path in names if path.is_file() and _is_log(path)), None)


def _is_log(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    return b"FHI-aims" in head


def read_log(path: Path) -> RunLog:
    """Read a log; nothing in it is required."""
    text = read_text(path)
    version = re.search(r"FHI-aims version\s*:\s*(\S+)", text)
    cycles = re.findall(r"Self-consistency cycle (converged|not yet converged|not converged)", text)
    return RunLog(
        path,
        version.group(1) if version else "",
        _last(text, _FERMI),
        _last(text, re.compile(r"Formal number of electrons[^:\n]*:\s*(\S+)")),
        cycles[-1] == "converged" if cycles else None,
    )


def _last(text: str, pattern: re.Pattern[str]) -> float | None:
    """Return the last number of a pattern; a leading zero may be missing, as Fortran writes it."""
    found = pattern.findall(text)
    try:
        return parse_number(found[-1]) if found else None
    except ValueError:
        return None


def format_log(calc: Calculation) -> str:
    """Return a log with the lines that readers of FHI-aims' output look for."""
    source = f"{calc.provenance.code} {calc.provenance.version}".strip()
    lines = [f" written by dock {__version__}, not by FHI-aims; the matrices come from {source}"]
    version = calc.provenance.version
    if calc.provenance.code == "FHI-aims" and re.fullmatch(r"\S+", version):
        lines.append(f"  FHI-aims version      : {version}")
    if calc.n_electrons is not None:
        lines.append(f"  | Formal number of electrons : {calc.n_electrons!r}")
    if calc.fermi_level is not None:
        lines.append(f"  | Chemical potential (Fermi level): {calc.fermi_level!r} eV")
    return "\n".join(lines) + "\n"
