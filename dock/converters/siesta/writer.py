"""From a Calculation to SIESTA: HSX, DM and TSDE files, and an fdf with the structure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dock.converters.format import WriteOptions
from dock.converters.siesta.gather import record, write_rows
from dock.converters.siesta.hsx import LABEL_BYTES
from dock.converters.siesta.matrix_file import canonical_images
from dock.converters.siesta.native import Target
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import LossError, MissingDataError

__all__ = ["SETTINGS", "structure_fdf", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "name": "SystemLabel, and so the files' names (default: that of the source, or 'dock')",
    "version": "of the HSX file: 2 (default), 1, or 0 as SIESTA up to 4.1 writes it (32 bits)",
    "components": "4 or 8: spin components of non-collinear data (default: as in the source, or "
    "4 where they suffice)",
}
_log = logging.getLogger("dock")


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the SIESTA files of a calculation.

    ``<label>.HSX`` with Hamiltonian and overlap, ``<label>.DM`` from which a run restarts
    (``DM.UseSaveDM``), ``<label>.TSDE`` where there is an energy density matrix, and
    ``<label>.fdf`` with the structure and the spin treatment. Elements that are zero in all
    matrices are left out of the sparse rows.

    A `dock.converters.format.Writer`; it uses ``quantities``, ``single_precision`` and the settings
    of `SETTINGS`.

    Raises
    ------
    LossError
        When the data have something that SIESTA's files cannot hold.
    MissingDataError
        When a file would lack one of its matrices.
    """
    target = Target.of(calc, options)
    quantities = _writable(target)
    target = Target(target.calc, replace(options, quantities=quantities))
    _check(target)
    written = []
    if "hamiltonian" in quantities:
        path = folder / f"{target.label}.HSX"
        with path.open("wb") as stream:
            (_write_hsx_0 if target.version == 0 else _write_hsx)(stream, target)
        written.append(path)
    if "density_matrix" in quantities:
        path = folder / f"{target.label}.DM"
        with path.open("wb") as stream:
            _write_dm(stream, target)
        written.append(path)
    if "energy_density_matrix" in quantities:
        path = folder / f"{target.label}.TSDE"
        with path.open("wb") as stream:
            _write_dm(stream, target)
            _write_energy_density(stream, target)
        written.append(path)
    path = folder / f"{target.label}.fdf"
    path.write_text(structure_fdf(target), encoding="utf-8")
    return [*written, path]


def _writable(target: Target) -> tuple[str, ...]:
    """Return the matrices that will be written; a lone one of a couple is refused."""
    calc, wanted = target.calc, list(target.options.quantities or ())
    lossy = target.options.allow_lossy
    if ("hamiltonian" in wanted) != ("overlap" in wanted):
        lone, other = ("hamiltonian", "overlap")
        if "overlap" in wanted:
            lone, other = other, lone
        if not lossy:
            raise MissingDataError(
                f"the {other}",
                calc.source,
                f"An HSX file holds Hamiltonian and overlap: the {lone} alone has no file in "
                "SIESTA. Choose matrices with quantities=NAMES, or pass allow_lossy=True.",
            )
        wanted.remove(lone)
    if "energy_density_matrix" in wanted and "density_matrix" not in wanted:
        raise MissingDataError(
            "the density matrix", calc.source, "A TSDE file holds it with the energy density."
        )
    if "energy_density_matrix" in wanted and target.n_spin == 8:
        if not lossy:
            raise LossError(
                f"{calc.source}: SIESTA has no file for the energy density matrix of spin-orbit "
                "runs. Choose matrices with quantities=NAMES, or pass allow_lossy=True to leave it "
                "out."
            )
        wanted.remove("energy_density_matrix")
    return tuple(wanted)


def _check(target: Target) -> None:
    """Compute everything that may refuse before a file is opened; say what is not known."""
    _ = target.label, target.version, target.numbers, target.atom_species
    for name in target.options.quantities or ():
        target.components(name)
    missing = []
    if "hamiltonian" in (target.options.quantities or ()):
        missing += ["Fermi level"] if target.calc.fermi_level is None else []
        missing += ["number of electrons"] if target.calc.n_electrons is None else []
    if missing:
        _log.warning("SIESTA HSX: written as zero, for want of data: %s.", ", ".join(missing))


def _write_hsx(stream: BinaryIO, target: Target) -> None:
    """Write version 1 or 2."""
    calc, basis, gather = target.calc, target.basis, target.gather
    bohr = target.constants.bohr_angstrom
    double = not target.options.single_precision
    kind = "<f8" if double else "<f4"
    sizes = [basis.n_atoms, basis.n_orbitals, target.n_spin, len(target.species), *target.nsc]
    levels = [
        (calc.fermi_level or 0.0) / target.constants.rydberg_ev,
        calc.n_electrons or 0.0,
        target.temperature_ry,
    ]
    record(stream, np.array([target.version], dtype=np.int32))
    record(stream, np.array([double], dtype=np.int32))
    record(stream, np.array(sizes, dtype=np.int32))
    record(stream, np.array([*(calc.structure.cell / bohr).ravel(), *levels], dtype=np.float64))
    record(
        stream,
        canonical_images(target.nsc),
        np.asarray(calc.structure.positions / bohr, dtype=np.float64),
        target.atom_species,
        basis.offsets[1:].astype(np.int32),
    )
    _write_species(stream, target)
    for one in target.species:
        record(stream, _orbital_table(one.shells))
    if target.version == 2:
        grid = target.k_grid
        record(stream, np.array(grid.matrix, dtype=np.int32), np.array(grid.shift))
    record(stream, gather.counts.astype(np.int32))
    write_rows(stream, gather.counts, gather.columns(), "<i4")
    for component in (*target.components("hamiltonian"), *target.components("overlap")):
        write_rows(stream, gather.counts, gather.values(component), kind)


def _write_hsx_0(stream: BinaryIO, target: Target) -> None:
    """Write version 0, in single precision."""
    calc, basis, gather = target.calc, target.basis, target.gather
    bohr = target.constants.bohr_angstrom
    n_images = int(np.prod(target.nsc))
    n_supercell = basis.n_orbitals * n_images
    counts = gather.counts
    sizes = [basis.n_orbitals, n_supercell, target.n_spin, int(counts.sum())]
    record(stream, np.array(sizes, dtype=np.int32))
    record(stream, np.zeros(1, dtype=np.int32))
    record(stream, np.tile(np.arange(1, basis.n_orbitals + 1, dtype=np.int32), n_images))
    record(stream, counts.astype(np.int32))
    write_rows(stream, counts, gather.columns(), "<i4")
    for component in (*target.components("hamiltonian"), *target.components("overlap")):
        write_rows(stream, counts, gather.values(component), "<f4")
    record(stream, np.array([calc.n_electrons or 0.0, target.temperature_ry]))
    vectors = gather.vectors(
        np.asarray(calc.structure.positions / bohr), np.asarray(calc.structure.cell / bohr)
    )
    write_rows(stream, 3 * counts, vectors, "<f4")
    record(stream, np.array([len(target.species)], dtype=np.int32))
    _write_species(stream, target)
    for one in target.species:
        for row in _orbital_table(one.shells):
            record(stream, row)
    record(stream, np.array([basis.n_atoms], dtype=np.int32))
    record(stream, target.atom_species)
    atom = np.repeat(np.arange(basis.n_atoms), basis.counts)
    within = np.arange(basis.n_orbitals) - basis.offsets[atom]
    record(stream, np.stack([atom + 1, within + 1], axis=1).astype(np.int32))


def _write_species(stream: BinaryIO, target: Target) -> None:
    parts: list[bytes] = []
    for one in target.species:
        parts.append(one.label.encode().ljust(LABEL_BYTES))
        parts.append(np.array([one.valence or 0.0], dtype="<f8").tobytes())
        parts.append(np.array([one.n_orbitals], dtype="<i4").tobytes())
    record(stream, *parts)


def _orbital_table(shells: tuple[tuple[int, int, int, bool], ...]) -> np.ndarray:
    rows = [(n, l, zeta) for n, l, zeta, _ in shells for _ in range(2 * l + 1)]
    return np.array(rows, dtype=np.int32)


def _write_dm(stream: BinaryIO, target: Target) -> None:
    gather = target.gather
    record(stream, np.array([target.basis.n_orbitals, target.n_spin, *target.nsc], dtype=np.int32))
    record(stream, gather.counts.astype(np.int32))
    write_rows(stream, gather.counts, gather.columns(), "<i4")
    for component in target.components("density_matrix"):
        write_rows(stream, gather.counts, gather.values(component), "<f8")


def _write_energy_density(stream: BinaryIO, target: Target) -> None:
    gather = target.gather
    for component in target.components("energy_density_matrix"):
        write_rows(stream, gather.counts, gather.values(component), "<f8")
    fermi = (target.calc.fermi_level or 0.0) / target.constants.rydberg_ev
    record(stream, np.array([fermi]))


def structure_fdf(target: Target) -> str:
    """Return an input with structure, species and spin, to be completed by the user.

    ``Dock.Rydberg`` and ``Dock.FermiLevel`` are keywords that SIESTA passes over; by them `dock`
    reads its own files back with the units that they were written in.
    """
    calc, structure = target.calc, target.calc.structure
    spin = {1: "non-polarized", 2: "polarized", 4: "non-collinear", 8: "spin-orbit"}
    species = zip(target.numbers, target.species, strict=True)
    lines = [
        "# Written by dock: structure and spin of the matrices beside it.",
        f"SystemLabel {target.label}",
        f"NumberOfSpecies {len(target.species)}",
        f"NumberOfAtoms {structure.n_atoms}",
        "%block ChemicalSpeciesLabel",
        *(f" {place} {z} {one.label}" for place, (z, one) in enumerate(species, 1)),
        "%endblock ChemicalSpeciesLabel",
        "LatticeConstant 1.0 Ang",
        "%block LatticeVectors",
        *(_row(vector) for vector in structure.cell),
        "%endblock LatticeVectors",
        "AtomicCoordinatesFormat Ang",
        "%block AtomicCoordinatesAndAtomicSpecies",
        *(
            f"{_row(position)} {kind}"
            for position, kind in zip(structure.positions, target.atom_species, strict=True)
        ),
        "%endblock AtomicCoordinatesAndAtomicSpecies",
        f"Spin {spin[target.n_spin]}",
    ]
    if "density_matrix" in (target.options.quantities or ()):
        lines.append("DM.UseSaveDM true")
    if calc.spin is Spin.NONE and not any(target.nsc[axis] > 1 for axis in range(3)):
        lines.append("# One cell only: SIESTA folds all images into it at the Gamma point.")
    lines.append(f"Dock.Rydberg {target.constants.rydberg_ev!r} eV")
    if calc.fermi_level is not None:
        lines.append(f"Dock.FermiLevel {float(calc.fermi_level)!r} eV")
    return "\n".join(lines) + "\n"


def _row(vector: np.ndarray) -> str:
    return " ".join(f"{float(value)!r:>24}" for value in vector)
