"""From a Calculation to an ABACUS run: STRU, INPUT and the matrices in ``OUT.<suffix>``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.converters.abacus.hr_csr import CsrWriter, format_header
from dock.converters.abacus.matrices import UNITS, from_pauli, to_pauli
from dock.converters.abacus.running_log import NSPIN, format_log
from dock.converters.abacus.stru import BOHR, EMPTY, FOLD_MARGIN, Species, format_stru
from dock.converters.format import WriteOptions
from dock.converters.origin import (
    in_source_order,
    number_of,
    of_elements,
    relabelled,
    with_moved_atoms,
)
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.elements import atomic_number, ghost_element
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LossError, UsageError

__all__ = ["SETTINGS", "fold_into_cell", "write_calculation", "write_density"]

SETTINGS: Mapping[str, str] = {
    "layout": "old (data-HR-sparse_SPIN0.csr, before 3.9.0.25; default) or new (hrs1_nao.csr)",
    "suffix": "name of the output folder OUT.<suffix> (default: that of the source, or 'ABACUS')",
    "digits": "digits behind the point, 1 to 16 (default 16, which loses nothing)",
}
_NAMES = {
    "old": {
        "hamiltonian": "data-HR-sparse_SPIN{0}.csr",
        "overlap": "data-SR-sparse_SPIN{0}.csr",
        "density_matrix": "data-DMR-sparse_SPIN{0}.csr",
        "kinetic": "data-TR-sparse_SPIN{0}.csr",
        "position": "data-rR-sparse.csr",
    },
    "new": {
        "hamiltonian": "hrs{1}_nao.csr",
        "overlap": "srs{1}_nao.csr",
        "density_matrix": "dmrs{1}_nao.csr",
        "kinetic": "trs{1}_nao.csr",
        "position": "rr.csr",
    },
}
_STEP_STYLE = ("kinetic", "position")  # the new versions kept the old layout for these
_MISSING = "ecutwfc, functional, occupations, folders of files, and k-points (KPT)"
_PAULI_LOSS = 1e-9
_log = logging.getLogger("dock")


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write STRU, INPUT and ``OUT.<suffix>/`` with the matrices and a short log.

    Atoms are grouped by species and folded into the cell, as ABACUS does; the lattice vectors of
    the matrices follow. The log holds what readers of ABACUS's output look for (basis, positions,
    Fermi level, electrons), and says that `dock` wrote it.

    A `dock.converters.format.Writer`; it uses ``quantities`` and the settings of `SETTINGS`.

    Raises
    ------
    LossError
        When a density matrix of spinors has more than the Pauli components that ABACUS keeps.
    """
    layout, digits = options.choice("layout", tuple(_NAMES), "old"), _digits(options)
    calc = _ordered(calc)
    names = options.quantities or ()
    if "density_matrix" in names:
        require_density(calc)
    folded = fold_into_cell(calc)
    matrices = {name: _native(folded, name, options) for name in names}
    suffix = options.settings.get("suffix", str(calc.provenance.extra.get("suffix", "ABACUS")))
    out = folder / f"OUT.{suffix}"
    out.mkdir()
    species = _species(folded)
    texts = {
        folder / "STRU": format_stru(folded.structure, species, _lattice_constant(calc)),
        folder / "INPUT": _input(folded, suffix),
        out / "running_scf.log": format_log(folded),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    _log.warning(
        "INPUT is not complete: %s are missing. Complete it from your own; a restart of your own "
        "run is made with like=RUN.",
        _MISSING,
    )
    common = _lattice([matrix for name, matrix in matrices.items() if name != "density_matrix"])
    written = [*texts]
    for name, matrix in matrices.items():
        header = None if layout == "old" or name in _STEP_STYLE else _header(folded.structure)
        lattice = _lattice([matrix]) if name == "density_matrix" else common
        writer = CsrWriter(lattice, digits, calc.spin is Spin.NONCOLLINEAR, header)
        for channel, components in enumerate(_files(matrix)):
            path = out / _NAMES[layout][name].format(channel, channel + 1)
            writer.write(path, matrix, components)
            written.append(path)
    return written


def write_density(calc: Calculation, out: Path) -> list[Path]:
    """Write the density matrix in the layout since 3.9.0.25, from which ``init_chg dm`` starts.

    The atoms must stand species by species, as ABACUS has them; they are folded into the cell.
    """
    folded = fold_into_cell(calc)
    matrix = _native(folded, "density_matrix", WriteOptions())
    writer = CsrWriter(
        _lattice([matrix]), 16, matrix.spin is Spin.NONCOLLINEAR, _header(folded.structure)
    )
    written = []
    for channel, components in enumerate(_files(matrix)):
        written.append(out / _NAMES["new"]["density_matrix"].format(channel, channel + 1))
        writer.write(written[-1], matrix, components)
    return written


def _digits(options: WriteOptions) -> int:
    text = options.settings.get("digits", "16")
    if not text.isdigit() or not 1 <= int(text) <= 16:
        raise UsageError(f"the setting digits is a number from 1 to 16, found '{text}'.")
    return int(text)


def _ordered(calc: Calculation) -> Calculation:
    """Return the calculation with the atoms of each species together, ABACUS's own order first."""
    names = {} if calc.provenance.code == "ABACUS" else of_elements(calc.structure)
    calc = relabelled(in_source_order(calc), names | _names_of_ghosts(calc))
    rank = {label: index for index, label in enumerate(dict.fromkeys(calc.structure.labels))}
    ranks = np.array([rank[label] for label in calc.structure.labels])
    if np.all(np.diff(ranks) >= 0):
        return calc
    return calc.permute_atoms([int(atom) for atom in np.argsort(ranks, kind="stable")])


def _names_of_ghosts(calc: Calculation) -> dict[str, str]:
    """Return labels by which ABACUS knows atoms without a nucleus: ``H_empty``."""
    names: dict[str, str] = {}
    taken = {label for label in calc.structure.labels if EMPTY in label}
    for label, number in calc.structure.number_of.items():
        if number or EMPTY in label:
            continue
        first = f"{ghost_element(label) or 'X'}_{EMPTY}"
        wanted = (first, *(f"{first}{n}" for n in range(2, len(calc.structure.labels) + 2)))
        names[label] = next(name for name in wanted if name not in taken)
        taken.add(names[label])
    return names


def fold_into_cell(calc: Calculation) -> Calculation:
    """Return the calculation with every atom in the home cell, the pairs' R counted from there.

    With an atom at τ = τ' + n·cell, the pair (R, i, j) becomes (R + n_j − n_i, i, j), and the
    position matrix loses (n_i·cell) S.

    Raises
    ------
    MissingDataError
        When a position matrix has to be moved and there is no overlap.
    """
    fractional = calc.structure.fractional
    shift = np.floor(fractional + FOLD_MARGIN).astype(np.int64)
    if not np.any(shift):
        return calc
    positions = np.maximum(fractional - shift, 0.0) @ calc.structure.cell
    return with_moved_atoms(calc, shift, positions)


def _native(calc: Calculation, name: str, options: WriteOptions) -> AOMatrix:
    """Return a matrix in ABACUS's units, orbital order and spin components."""
    matrix = calc.require(name)
    entries = np.array(matrix.entries) / UNITS[name]
    if name == "density_matrix" and calc.spin is Spin.NONCOLLINEAR:
        pauli = to_pauli(entries)
        lost = float(np.abs(from_pauli(pauli.astype(np.complex128)) - entries).max(initial=0.0))
        if lost > _PAULI_LOSS and not options.allow_lossy:
            raise LossError(
                f"{calc.source}: ABACUS keeps only charge and moments of a density matrix of "
                f"spinors; up to {lost:.1e} of this one would be lost. Leave it out with "
                "quantities=NAMES, or pass allow_lossy=True."
            )
        entries = pauli.astype(np.complex128)
    orders = shell_orders(calc.basis, "abacus", sort_by_l=True)
    entries = reorder_entries(entries, calc.basis, matrix.pairs, orders)
    complex_file = calc.spin is Spin.NONCOLLINEAR and name in ("overlap", "kinetic")
    if complex_file:
        entries = entries.astype(np.complex128)
    elif name == "density_matrix":
        entries = np.ascontiguousarray(entries.real)
    return matrix.with_entries(entries)


def _files(matrix: AOMatrix) -> list[tuple[int, ...]]:
    """Return which components go into which file."""
    if QUANTITIES[matrix.quantity].has_spin and matrix.spin is Spin.COLLINEAR:
        return [(0,), (1,)]
    return [tuple(range(len(matrix.entries)))]


def _lattice(matrices: list[AOMatrix]) -> NDArray[np.int64]:
    """Return all lattice vectors where a matrix is not zero, ascending, at least the origin.

    ABACUS lists those of H in every file but that of the density matrix.
    """
    vectors = [np.zeros((1, 3), dtype=np.int64)]
    for matrix in matrices:
        filled = np.any(matrix.entries != 0, axis=0)
        kept = np.logical_or.reduceat(filled, matrix.layout.starts[:-1])
        vectors.append(matrix.pairs.R[kept].astype(np.int64))
    return np.unique(np.concatenate(vectors), axis=0)


def _lattice_constant(calc: Calculation) -> float:
    """Return LATTICE_CONSTANT in Bohr: that of the source, or 1 Å."""
    extra = calc.provenance.extra if calc.provenance.code == "ABACUS" else {}
    value = number_of(extra, "lattice_constant_bohr", 0.0)
    return value if value > 0 else 1.0 / BOHR


def _species(calc: Calculation) -> list[Species]:
    """Return the species with their files: the source's, or placeholders that say the basis."""
    stored = calc.provenance.extra.get("species")
    known: dict[str, Mapping[str, Any]] = {}
    if calc.provenance.code == "ABACUS" and isinstance(stored, list):
        known = {str(kept.get("label")): kept for kept in stored if isinstance(kept, dict)}
    structure, result = calc.structure, []
    for label in calc.basis.species:
        kept = known.get(label)
        if kept is not None:
            result.append(
                Species(
                    label,
                    float(kept.get("mass", 1.0)),
                    str(kept.get("pseudo", "")),
                    str(kept.get("orbital", "")),
                    float(kept.get("magnetism", 0.0)),
                )
            )
            continue
        number, symbol = structure.number_of[label], structure.element_of[label]
        if number == 0:  # ABACUS wants the files of the element whose orbitals a ghost has
            symbol = ghost_element(label) or symbol
            number = atomic_number(symbol)
        orbital = f"{symbol}_{calc.basis.describe(label)}.orb"  # ABACUS's own way: Si_2s2p1d
        result.append(Species(label, _mass(number), f"{symbol}.upf", orbital))
    if not known:
        _log.warning("ABACUS STRU: the names of pseudopotential and orbital files are placeholders")
    return result


def _mass(number: int) -> float:
    from ase.data import atomic_masses

    return float(atomic_masses[number]) if number < len(atomic_masses) else 1.0


def _input(calc: Calculation, suffix: str) -> str:
    lines = [
        "INPUT_PARAMETERS",
        f"# written by dock {__version__}",
        f"# NOT COMPLETE: {_MISSING} are missing.",
        "# Copy them from your own INPUT and KPT; 'dock convert --like RUN' does it for a restart.",
        f"suffix {suffix}",
        "calculation scf",
        "basis_type lcao",
        f"gamma_only {int(calc.only_gamma)}",
        f"nspin {NSPIN[calc.spin]}",
    ]
    if calc.spin is Spin.NONCOLLINEAR:
        lines += ["noncolin 1", "lspinorb 1"]
    return "\n".join(lines) + "\n"


def _header(structure: Structure) -> str:
    """Return the structure for the header of the new layout."""
    labels = list(dict.fromkeys(structure.labels))
    rows = [" " + " ".join(f"{number:.12g}" for number in vector) for vector in structure.cell]
    atoms = [" " + " ".join(f"{x:.15g}" for x in point) for point in structure.fractional]
    counts = " ".join(str(structure.labels.count(label)) for label in labels)
    return format_header("\n".join(rows), " ".join(labels), counts, "\n".join(atoms))
