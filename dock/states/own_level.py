"""The Fermi level that belongs to a Hamiltonian by itself: counted before, or counted now."""

from __future__ import annotations

import logging

from dock.core.calculation import Calculation
from dock.states.counted_level import level_beside
from dock.states.fermi_level import find_level
from dock.states.gap import find_gap
from dock.states.kmesh import make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.spectrum import compute_spectrum

__all__ = ["level_of_data", "own_level"]

WORK = 1e11
"""Rows³ times k-points up to which electrons are counted without being asked: some minutes."""

_FEW_SECONDS = 4e9
"""The same for a level that is there, and is only held against the electrons."""

_log = logging.getLogger("dock")


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
