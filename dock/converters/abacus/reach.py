"""How far the Hamiltonian of ABACUS reaches: pairs of atoms that meet through a projector only.

A pair (R, i, j) has a block of H when |d_ij| < rc_i + rc_j, or when some atom k has
|d_ik| < rc_i + rβ_k and |d_jk| < rc_j + rβ_k: `dock.overlap.neighbours.projector_pairs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dock.converters.abacus.orb import orb_cutoff
from dock.converters.abacus.run import RunFiles
from dock.converters.abacus.running_log import AbacusLog
from dock.converters.abacus.stru import BOHR, StruFile
from dock.core.basis import Basis
from dock.core.elements import element_of_label
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.io.text import NotANumber, parse_numbers, read_text
from dock.overlap.neighbours import orbital_cutoffs, projector_pairs

__all__ = [
    "NO_REACH",
    "Reach",
    "element_radius",
    "projector_radius",
    "reach_of_run",
    "with_projector_pairs",
]

NO_REACH = (
    "The pairs that meet through a projector only are not in this overlap, as the radii are not "
    "known: give the folder of the .orb and .upf files (basis=DIR), or the log."
)
_SMALLEST = 1e-10  # of r β(r), below which ABACUS ends a projector


class Reach(NamedTuple):
    """Radii of each species, Å.

    Attributes
    ----------
    orbitals
        Of the longest orbital.
    projectors
        Of the longest projector.
    """

    orbitals: dict[str, float]
    projectors: dict[str, float]

    def by_element(self, structure: Structure) -> dict[str, object]:
        """Return the largest radius of each element, Å, for the facts that a folder keeps."""
        tables: dict[str, dict[str, float]] = {}
        for kind, radii in self._asdict().items():
            table = tables.setdefault(kind, {})
            for label, radius in radii.items():
                symbol = structure.element_of[label]
                table[symbol] = max(radius, table.get(symbol, 0.0))
        return {"reach_angstrom": tables}


def projector_radius(path: Path) -> float | None:
    """Return the radius of the longest projector as ABACUS cuts it, Bohr.

    The mesh up to the last number that is not zero is made odd; measured with 3 pseudopotentials
    against the logs of 3.8. None for a file that is no UPF of version 2.

    Raises
    ------
    MissingDataError
        When the file cannot be read.
    FormatError
        When its numbers are damaged.
    """
    text = read_text(path)
    mesh = re.search(r"<PP_R\b[^>]*>([^<]*)</PP_R>", text)
    betas = re.findall(r"<PP_BETA\.\d+[^>]*>([^<]*)</PP_BETA", text)
    if mesh is None or "<UPF" not in text:
        return None
    try:
        r = parse_numbers(mesh[1])
        ends = [np.flatnonzero(np.abs(parse_numbers(beta)) > _SMALLEST) for beta in betas]
    except NotANumber as error:
        raise FormatError(
            path, "a table holds a word", expected="numbers", found=error.shown
        ) from error
    last = max((int(end[-1]) for end in ends if len(end)), default=0)
    last -= last % 2
    if last >= len(r):
        raise FormatError(path, "mesh and projectors disagree", expected=f"{last + 1} points")
    return float(r[last])


def element_radius(folder: Path, symbol: str) -> float | None:
    """Return the radius of an element's projectors, Bohr, where a folder has one UPF file of it."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() == ".upf"]
    own = [path for path in sorted(paths) if element_of_label(path.name) == symbol]
    return projector_radius(own[0]) if len(own) == 1 else None


def reach_of_run(
    files: RunFiles,
    log: AbacusLog | None,
    stru: StruFile | None,
    basis: Basis,
    folder: Path | None,
) -> Reach | None:
    """Return the radii of a run's species; None where no file says them.

    Orbitals: the shells' own, the run's ``.orb`` files, their names, the log's largest. Projectors:
    the ``.upf`` files in `folder` or the run's ``pseudo_dir``, the log's largest.

    Raises
    ------
    FormatError
        When an orbital file or pseudopotential is damaged.
    """
    largest = log.radii_bohr if log is not None and log.is_whole else (None, None)
    kinds = {kind.label: kind for kind in stru.species} if stru is not None else {}
    orbitals: dict[str, float | None] = {}
    projectors: dict[str, float | None] = {}
    for label in basis.species:
        kind = kinds.get(label)
        orb = _file(files, kind.orbital if kind else "", "orbital_dir", folder)
        upf = _file(files, kind.pseudo if kind else "", "pseudo_dir", folder)
        if all(shell.radial is not None for shell in basis.shells[label]):
            orbitals[label] = orbital_cutoffs(basis)[label] / BOHR
        elif orb is not None:
            orbitals[label] = orb_cutoff(orb)
        else:
            named = re.search(r"_(\d+(?:\.\d+)?)au_", kind.orbital if kind else "")
            orbitals[label] = float(named[1]) if named is not None else largest[0]
        own = projector_radius(upf) if upf is not None else None
        projectors[label] = own if own is not None else largest[1]
    if None in (*orbitals.values(), *projectors.values()):
        return None
    return Reach(
        *(
            {label: radius * BOHR for label, radius in radii.items() if radius is not None}
            for radii in (orbitals, projectors)
        )
    )


def _file(files: RunFiles, name: str, keyword: str, folder: Path | None) -> Path | None:
    """Return a file that STRU names: in a given folder, that of the keyword, or beside STRU."""
    run = files.folder.parent
    places = [folder, run / files.parameters.get(keyword, "."), run]
    paths = [place / Path(name).name for place in places if place is not None] if name else []
    return next((path for path in paths if path.is_file()), None)


def with_projector_pairs(read: Callable[[], AOMatrix], reach: Reach) -> AOMatrix:
    """Return an overlap with zero blocks for the pairs that meet through a projector only."""
    overlap = read()
    pairs = projector_pairs(overlap.structure, reach.orbitals, reach.projectors)
    return overlap.on_pairs(overlap.pairs.union(pairs))
