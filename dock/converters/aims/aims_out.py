"""The log of an FHI-aims run, ``aims.out``: version, Fermi level, electrons, convergence.

One that `dock` writes has the lines that readers of FHI-aims' output look for, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dock._version import __version__
from dock.converters.run_log import RunLog, last_number
from dock.core.calculation import Calculation
from dock.io.text import read_text

__all__ = ["AimsLog", "find_log", "format_log", "read_log"]

_GOODBYE = "Have a nice day."
_HEAD = 2**18  # bytes of a file in which FHI-aims names itself; MPI's chatter may stand before it
_FERMI = r"(?i)\|\s*Chemical potential(?: \(Fermi level\))?(?: in eV)?\s*:\s*(\S+)"


@dataclass(frozen=True, eq=False, kw_only=True)
class AimsLog(RunLog):
    """What a log of FHI-aims says.

    `fermi_level` is the last one, eV; `finished` is false where the log ends within a cycle.
    """

    fermi_level: float | None
    finished: bool = True


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


def read_log(path: Path) -> AimsLog:
    """Read a log; nothing in it is required."""
    text = read_text(path)
    version = re.search(r"FHI-aims version\s*:\s*(\S+)", text)
    ends = list(
        re.finditer(r"Self-consistency cycle (converged|not yet converged|not converged)", text)
    )
    cycles = [found[1] for found in ends]
    step = text.rfind("Begin self-consistency")  # an iteration, or the start of the next loop
    return AimsLog(
        path=path,
        version=version.group(1) if version else "",
        fermi_level=last_number(text, _FERMI),
        n_electrons=last_number(text, r"Formal number of electrons[^:\n]*:\s*(\S+)"),
        converged=cycles[-1] == "converged" if cycles else None,
        finished=max(text.rfind(_GOODBYE), ends[-1].start() if ends else -1) >= step,
    )


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
