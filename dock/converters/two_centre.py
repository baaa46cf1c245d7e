"""Two-centre integrals that a calculation lacks, from the radial functions of its own basis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dock.converters.basis_files import (
    CHOICES,
    basis_for,
    basis_strings,
    detect_code,
    read_basis_folder,
    require_same_shells,
)
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.errors import LayoutError
from dock.threads import available_cpus

__all__ = ["own_strings", "with_two_centres"]

_SAME_BASIS = 1e-3
"""Largest |ΔS| between a code's overlap and ours; measured 2e-5 for OpenMX, 1e-6 for the others."""


def with_two_centres(
    calc: Calculation, names: Sequence[str], folder: Path, settings: Mapping[str, str]
) -> Calculation:
    """Return the calculation with the matrices of the names among its own, computed if need be.

    The overlap is computed too and held against that of the calculation, which tells another
    basis, or the same in other order or sign.

    Parameters
    ----------
    names
        Of `dock.overlap.assemble.QUANTITIES`.
    folder
        Basis files of the code that made the matrices; not looked at where the calculation has
        radial functions.
    settings
        ``orbitals`` has OpenMX's basis strings for ``.pao`` files, or CP2K's names of basis sets;
        default those of the run's own input.

    Raises
    ------
    MissingDataError
        When there are no such files, or no overlap.
    LayoutError
        When the basis is not that of the matrices.
    """
    from dock.overlap.assemble import Integrals

    missing = [name for name in names if name not in calc.available]
    if not missing:
        return calc
    stored = calc.require("overlap", "It tells whether the basis files are the right ones.")
    basis = _basis(calc, folder, basis_strings(settings) or own_strings(calc))
    integrals = Integrals.prepare(calc.structure, basis, pairs=stored.pairs)
    jobs = available_cpus()
    mine = integrals.matrix("overlap", jobs=jobs)
    apart = float(np.abs(mine.entries - stored.entries).max(initial=0.0))
    if apart > _SAME_BASIS:
        raise LayoutError(
            f"{folder}: the overlap of these orbitals differs by up to {apart:.2g} from that of "
            f"{calc.source}: they are of another basis. Pass the files of that run, basis=DIR."
        )
    made = {name: integrals.matrix(name, jobs=jobs) for name in missing}
    return calc.replace(matrices={**calc.matrices, **made})


def own_strings(calc: Calculation) -> dict[str, str]:
    """Return the basis strings of the OpenMX or CP2K run that the calculation came from, if any."""
    sets = calc.provenance.extra.get("basis_sets")
    if calc.provenance.code == "CP2K" and isinstance(sets, dict):
        return {str(label): str(name) for label, name in sets.items()}
    text = calc.provenance.extra.get("input")
    if calc.provenance.code != "OpenMX" or not isinstance(text, str):
        return {}
    from dock.converters.openmx.dat import parse_input

    return {kind.label: str(kind.pao) for kind in parse_input(text, calc.source).species}


def _basis(calc: Calculation, folder: Path, strings: Mapping[str, str]) -> Basis:
    shells = [shell for label in calc.basis.species for shell in calc.basis.shells[label]]
    if all(shell.radial is not None for shell in shells):
        return calc.basis
    # The strings of a run's own input say which functions of OpenMX or CP2K; others need none.
    needed = strings if detect_code(folder) in CHOICES else {}
    given = basis_for(calc.structure, read_basis_folder(folder, strings=needed))
    require_same_shells(given, calc.basis, folder)
    return given
