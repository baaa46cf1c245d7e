"""Spin moments of atoms that a model takes as input: from a file, or from the density matrix.

Whether a model takes them is decided here too. A magnet's Hamiltonian is no function of where its
atoms are: without moments its magnetic orders are one and the same structure.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from dock.converters.deeph.beside import MOMENTS as MOMENTS_FILE
from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.errors import FormatError, UsageError
from dock.models.graph import Graph
from dock.models.targets import TargetLayout
from dock.states.mulliken import orbital_populations

__all__ = [
    "MOMENTS_FILE",
    "choose_moments",
    "has_moments",
    "moment_ranges",
    "moment_unit",
    "moments_of",
    "spin_moments",
]

_LOG = logging.getLogger(__name__)

_NAMED = 5  # structures in a message
_NO_MOMENT = 1e-3  # μ_B; where all are smaller there is nothing to learn from them
_HOW = (
    f"Write {MOMENTS_FILE} beside the matrices, one [mx, my, mz] in μ_B for each atom (dock "
    "convert does it where SIESTA printed the populations), or keep density_matrix.h5 there (dock "
    "density-matrix computes it from H)."
)


def spin_moments(density: AOMatrix, overlap: AOMatrix) -> FloatArray:
    """Return Mulliken spin moments (n_atoms, 3) in μ_B; zeros without spin.

    They are those of `dock.states.mulliken`, summed over the orbitals of each atom.
    """
    orbitals = orbital_populations(density, overlap)
    moments: FloatArray = np.add.reduceat(orbitals, density.basis.offsets[:-1], axis=0)[:, 1:]
    return moments


def moments_of(folder: Path, calc: Calculation) -> FloatArray:
    """Return the spin moments that a model takes as input.

    Read from ``moments.json`` (a list of three numbers in μ_B per atom) beside the matrices, else
    computed from the density matrix (Mulliken).

    Raises
    ------
    FormatError
        When the file does not hold three numbers for each atom.
    MissingDataError
        When there is neither.
    """
    path = Path(folder) / MOMENTS_FILE
    n_atoms = calc.structure.n_atoms
    if path.is_file():
        try:
            found = np.asarray(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            found, problem = np.zeros(0), str(error)
        else:
            problem = f"an array of shape {found.shape}"
        if found.shape != (n_atoms, 3) or not np.isfinite(found).all():
            raise FormatError(
                path,
                "no spin moments",
                expected=f"a list of {n_atoms} lists of three finite numbers (μ_B)",
                found=problem,
                fix="Write one [mx, my, mz] for each atom in the order of POSCAR.",
            )
        return found
    fix = f"Write the moments into {MOMENTS_FILE}, or give density_matrix.h5."
    return spin_moments(require_density(calc, fix), calc.require("overlap", fix))


def has_moments(folder: Path, calc: Calculation) -> bool:
    """Whether `moments_of` finds something in a folder."""
    has_density = {"density_matrix", "overlap"} <= set(calc.available)
    return has_density or (Path(folder) / MOMENTS_FILE).is_file()


def choose_moments(wanted: bool | str, layout: TargetLayout, at_hand: Mapping[str, bool]) -> bool:
    """Return whether a model takes moments; a warning says what one without cannot tell.

    Parameters
    ----------
    wanted
        True, False, or ``auto``: magnets take them where they are at hand. Spinors that obey time
        reversal have none.
    layout
        The targets.
    at_hand
        For each structure by name what `has_moments` says.

    Raises
    ------
    UsageError
        Naming structures without, where others have them or they are demanded.
    """
    is_magnetic = layout.spin is not Spin.NONE and quantity_of(layout.quantity).has_spin
    is_magnetic = is_magnetic and not layout.time_reversal
    if wanted == "auto" and not is_magnetic:
        return False
    lacking = [name for name, is_there in at_hand.items() if not is_there]
    if wanted is False or (wanted == "auto" and len(lacking) == len(at_hand)):
        if is_magnetic:
            _LOG.warning(
                "the set has %s spin, and the model gets no moments: to it, structures that differ "
                "in their magnetic order alone (ferro- and antiferromagnetic) are one and the "
                "same, and what it predicts is a mixture of both. %s",
                layout.spin.value,
                _HOW,
            )
        return False
    if lacking:
        more = ", …" if len(lacking) > _NAMED else ""
        raise UsageError(
            f"{len(lacking)} of the {len(at_hand)} structures have no moments: "
            f"{', '.join(lacking[:_NAMED])}{more}. {_HOW} Without them for all: moments = false in "
            "[data]. Nothing was trained."
        )
    return True


def moment_ranges(graphs: Iterable[Graph]) -> dict[str, list[float]]:
    """Return the smallest and the largest size of the moments of each species, μ_B."""
    found: dict[str, list[float]] = {}
    for graph in graphs:
        if graph.moments is None:
            continue
        sizes = np.linalg.norm(graph.moments, axis=1).tolist()
        for label, size in zip(graph.structure.labels, sizes, strict=True):
            low, high = found.get(label, (size, size))
            found[label] = [min(low, size), max(high, size)]
    return found


def moment_unit(graphs: Iterable[Graph]) -> float:
    """Return the root mean square of the moments along z, μ_B; 1 where there are none."""
    count, squares = 0, 0.0
    for graph in graphs:
        if graph.moments is not None:
            count += graph.n_atoms
            squares += float((graph.moments[:, 2] ** 2).sum())
    unit = float(np.sqrt(squares / max(count, 1)))
    return unit if unit > _NO_MOMENT else 1.0
