"""A Fermi level that was counted before: the file ``dock fermi`` writes beside the matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.core.calculation import Calculation
from dock.errors import DockError
from dock.io.text import read_json

__all__ = ["LEVEL_FILE", "is_other_count", "level_beside"]

LEVEL_FILE = "fermi_energy.json"
"""What ``dock fermi`` writes beside the matrices."""

_SAME_COUNT = 1e-6  # electrons


def level_beside(
    calc: Calculation, path: str | Path, electrons: float | None = None
) -> float | None:
    """Return the Fermi level that a ``fermi_energy.json`` has of this very H, eV; None without one.

    The file is looked for beside `path`, a folder or a file. It belongs to H if it names its hash,
    and to the electrons if it counted as many as the calculation has, or as are given.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / LEVEL_FILE
    if not file.is_file() or calc.hamiltonian is None:
        return None
    try:
        content = read_json(file)
        kept = content.get("hamiltonian_hash")
        level, counted = float(content["fermi_level_eV"]), float(content["n_electrons"])
    except (DockError, KeyError, TypeError, ValueError, AttributeError):
        return None  # of another program, or damaged: it can be counted again
    wanted = calc.n_electrons if electrons is None else electrons
    is_ours = kept == calc.hamiltonian.digest() and np.isfinite(level)
    return level if is_ours and (wanted is None or abs(wanted - counted) < _SAME_COUNT) else None


def is_other_count(calc: Calculation, electrons: float | None) -> bool:
    """Say whether a number of electrons is another than the data's, whose Fermi level is not its.

    Examples
    --------
    >>> import dock
    >>> si = dock.read("fixtures/openmx/si")
    >>> [is_other_count(si, count) for count in (None, 8, 7)]
    [False, False, True]
    """
    if electrons is None or calc.n_electrons is None:
        return False
    return abs(electrons - calc.n_electrons) > _SAME_COUNT
