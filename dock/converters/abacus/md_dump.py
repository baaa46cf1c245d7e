"""``MD_dump``: the structure of each step of a molecular dynamics run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError, MissingDataError
from dock.io.text import CUT_FIX, finite_numbers, read_text

__all__ = ["read_md_dump"]


def read_md_dump(
    path: Path, number: int, labels: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cell (3, 3) in Å and the fractional positions (n_atoms, 3) of one step.

    Parameters
    ----------
    path
        The file.
    number
        The step, from 0.
    labels
        Species label of each atom, in the order of the run.

    Raises
    ------
    MissingDataError
        When the file has no such step.
    FormatError
        When it is damaged or of another run.
    """
    parts = re.split(r"^MDSTEP:\s*(\d+)[ \t]*$", read_text(path), flags=re.MULTILINE)
    steps = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    if number not in steps:
        shown = ", ".join(map(str, list(steps)[:20])) or "none"
        raise MissingDataError(
            f"the positions of ionic step {number}", path, f"It has the steps {shown}."
        )
    lines = [line.split() for line in steps[number].splitlines() if line.strip()]
    head = next((place for place, line in enumerate(lines) if line[0] == "LATTICE_VECTORS"), None)
    table = next((place for place, line in enumerate(lines) if line[0] == "INDEX"), None)
    constant = next((line[1:2] for line in lines if line[0] == "LATTICE_CONSTANT:"), [])
    length = finite_numbers(constant, 1)
    if head is not None and table is not None and length is not None:
        vectors = [finite_numbers(line[:3], 3) for line in lines[head + 1 : head + 4]]
        atoms = lines[table + 1 : table + 1 + len(labels)]
        rows = [finite_numbers(line[2:5], 3) for line in atoms]
        if None not in (*vectors, *rows) and tuple(line[1] for line in atoms) == labels:
            cell = np.array(vectors, dtype=np.float64) * length[0]
            return cell, np.array(rows, dtype=np.float64) @ np.linalg.inv(cell)
    raise FormatError(
        path,
        "the step is damaged or of another run",
        where=f"MDSTEP: {number}",
        expected=f"LATTICE_CONSTANT, LATTICE_VECTORS and {len(labels)} atoms",
        fix=CUT_FIX,
    )
