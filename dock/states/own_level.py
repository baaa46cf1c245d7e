"""The Fermi level that belongs to a Hamiltonian by itself: counted before, or counted now."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dock.core.calculation import Calculation
from dock.errors import DockError
from dock.io.text import read_json
from dock.states.fermi_level import find_level
from dock.states.gap import find_gap
from dock.states.kmesh import make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.spectrum import compute_spectrum

__all__ = ["LEVEL_FILE", "is_other_count", "level_beside", "level_of_data", "own_level"]

LEVEL_FILE = "fermi_energy.json"
"""What ``dock fermi`` writes beside the matrices."""

WORK = 1e11
"""Rows³ times k-points up to which electrons are counted without being asked: some minutes."""

_FEW_SECONDS = 4e9
"""The same for a level that is there, and is only held against the electrons."""

_SAME_COUNT = 1e-6  # electrons

_log = logging.getLogger("dock")


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


def own_level(calc: Calculation) -> float | None:
    """Return the Fermi level of a calculation that has none with its data, such as a prediction.

    That of a ``fermi_energy.json`` beside it, else its electrons are counted on the mesh of
    ``dock fermi``. None where they are unknown or that takes long.
    """
    known = level_beside(calc, calc.source)
    if known is not None or not calc.n_electrons:
        return known
    if not {"hamiltonian", "overlap"} <= set(calc.available):
        return None
    mesh = make_mesh(calc)
    if float(Problem.of(calc).size) ** 3 * mesh.n_points > WORK:
        return None
    return find_level(compute_spectrum(calc, mesh), calc.n_electrons, Smearing())[0]


def level_of_data(calc: Calculation) -> float | None:
    """Return the Fermi level that comes with the data, unless the electrons leave a gap elsewhere.

    Codes put the level of an insulator anywhere, some into its bands (smearing, few k-points). On
    the mesh of ``dock fermi`` the electrons are counted where that takes seconds; if they leave a
    gap that the level is not in, the middle of the gap is returned, and said. Without a level it is
    `own_level`.
    """
    level, electrons = calc.fermi_level, calc.n_electrons
    if level is None:
        return own_level(calc)
    if not electrons or not {"hamiltonian", "overlap"} <= set(calc.available):
        return level
    mesh = make_mesh(calc)
    if float(Problem.of(calc).size) ** 3 * mesh.n_points > _FEW_SECONDS:
        return level
    spectrum = compute_spectrum(calc, mesh)
    n_filled = electrons / spectrum.degeneracy
    gap = find_gap(spectrum.energies, mesh.points, n_filled=n_filled, fermi_level=level)
    if gap.kind != "insulator" or not gap.is_stored_outside or gap.fermi_level is None:
        return level
    _log.warning(
        "%s: its Fermi level, %.4f eV, lies in the bands; its %g electrons leave a gap of %.3f eV. "
        "The middle of that, %.4f eV, is taken; fermi_level=E takes another.",
        calc.source,
        level,
        electrons,
        gap.size,
        gap.fermi_level,
    )
    return gap.fermi_level
