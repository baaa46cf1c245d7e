"""From an scfout file to a Calculation: units, orbital order, spin, density-matrix convention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import ReadOptions
from dock.converters.openmx.dat import OpenmxInput, parse_input
from dock.converters.openmx.out import read_out
from dock.converters.openmx.pao import shells_of_input
from dock.converters.openmx.placeholders import (
    ELECTRONS,
    FERMI_LEVEL,
    without_zeros_line,
    written_as_zeros,
)
from dock.converters.openmx.scfout import ScfoutFile
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.pairs import Pairs
from dock.core.position import breaks_relation
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, LayoutError, MissingDataError
from dock.units import OPENMX

__all__ = ["read_calculation"]

HARTREE, BOHR = OPENMX.hartree_ev, OPENMX.bohr_angstrom

MISSING_IDM = (
    "OpenMX 3.8 does not store the imaginary part of the spin-diagonal density matrix: with "
    "spin-orbit coupling it is missing here. Populations and moments are right; Tr(rho H) is off "
    "by about 1e-5 Ha."
)

ZEROS = (
    "The file holds zeros only where {names} should be: whoever wrote it did not have them. They "
    "are left out."
)
NO_DENSITY = (
    "Without a density matrix nothing shows that H is self-consistent: OpenMX made for HamGNN "
    "(openmx_postprocess) writes H of superposed atoms (H0) so."
)
APPENDED = (
    "OpenMX's report stands at the end of the scfout file, as the recipes of DeepH-pack append it: "
    "{taken}."
)
_SAMPLE = 64  # pairs, spread over the file, whose position matrix is held against the overlap

_SPINS = {0: Spin.NONE, 1: Spin.COLLINEAR, 3: Spin.NONCOLLINEAR}


def read_calculation(path: Path, options: ReadOptions) -> Calculation:
    """Read an scfout file of OpenMX 3.9 or 3.8; the matrices are read when asked for.

    Energies and lengths are converted with OpenMX's own constants. The density matrix becomes
    Σ f c c† (OpenMX stores its complex conjugate), summed over both spins for a run without spin
    (OpenMX stores one). With the option ``basis``, a folder of ``.pao`` files, the shells carry
    radial functions.

    Raises
    ------
    FormatError
        When the file is damaged or its embedded input contradicts the matrices.
    """
    path = _only_scfout(path)
    file = ScfoutFile.open(path)
    source = parse_input(file.input_text, path)
    if source.spin_switch != file.spin_switch:
        raise FormatError(
            path,
            "the embedded input and the matrices differ in spin",
            expected=f"scf.SpinPolarization {source.spin} as in the input",
            found=f"matrices with the spin switch {file.spin_switch}",
            fix="The scfout and its input text do not belong together: run OpenMX again.",
        )
    contracted = source.contracted(file.n_orbitals)
    shells = shells_of_input(source, contracted=contracted, folder=options.basis)
    structure = Structure(
        file.cell * BOHR, file.positions * BOHR, source.numbers, source.labels, _periodicity(file)
    )
    run = _Run(file, structure, Basis(shells, source.labels), source)
    unknown = written_as_zeros(file.input_text)
    return Calculation(
        structure,
        run.basis,
        run.spin,
        run.readers(),
        None if FERMI_LEVEL in unknown else file.chemical_potential * HARTREE,
        None if ELECTRONS in unknown or file.n_electrons == 0 else file.n_electrons,
        _provenance(run),
        str(path),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """An open scfout file and what its matrices refer to."""

    file: ScfoutFile
    structure: Structure
    basis: Basis
    source: OpenmxInput

    @property
    def spin(self) -> Spin:
        return _SPINS[self.file.spin_switch]

    @cached_property
    def pairs(self) -> Pairs:
        file = self.file
        try:
            pairs = Pairs(file.pair_R, file.pair_i, file.pair_j, file.n_atoms)
            pairs.require_closed()
        except LayoutError as error:
            raise FormatError(file.path, str(error).rstrip("."), where="neighbour table") from error
        return pairs

    @cached_property
    def layout(self) -> BlockLayout:
        counts = self.basis.counts
        return BlockLayout(counts[self.pairs.i], counts[self.pairs.j])

    def readers(self) -> dict[str, Callable[[], AOMatrix]]:
        """Return a function for each matrix that the file has."""
        makers = {
            "overlap": self._overlap,
            "hamiltonian": self._hamiltonian,
            "density_matrix": self._density,
            "position": self._position,
        }
        if "momentum" in self.file.sections:
            makers["gradient"] = self._gradient
        left_out = (*self.placeholders, *(["position"] if self.wrong_position else []))
        return {
            name: partial(self._make, name, maker)
            for name, maker in makers.items()
            if name not in left_out
        }

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The matrices for which the file has zeros."""
        sections = {
            "density_matrix": ("density", "density_imag"),
            "position": ("position",),
            "gradient": ("momentum",),
        }
        return tuple(
            name
            for name, parts in sections.items()
            if parts[0] in self.file.sections
            and all(self.file.is_zero(part) for part in parts if part in self.file.sections)
        )

    @cached_property
    def wrong_position(self) -> str:
        """What is wrong with the position matrix by a sample of its pairs; empty if nothing."""
        if "position" in self.placeholders:
            return ""
        pairs, partner = self.pairs, self.pairs.require_closed()
        chosen = np.arange(0, len(pairs), max(1, len(pairs) // _SAMPLE))
        chosen = np.unique(np.concatenate([chosen, pairs.onsite, partner[chosen]])[: 3 * _SAMPLE])
        chosen = np.union1d(chosen, partner[chosen])
        part, position = pairs.take(chosen), self.file.read_pairs("position", chosen) * BOHR
        overlap = self.file.read_pairs("overlap", chosen)
        if not (np.isfinite(position).all() and np.isfinite(overlap).all()):
            return ""  # refused when it is read
        counts = self.basis.counts
        sizes = counts[part.i] * counts[part.j]
        with np.errstate(over="ignore", invalid="ignore"):  # damaged numbers may be huge
            position += np.repeat(self.structure.positions[part.i], sizes, axis=0).T * overlap
        r, s = (
            AOMatrix(name, self.structure, self.basis, part, Spin.NONE, entries)
            for name, entries in (("position", position), ("overlap", overlap))
        )
        return breaks_relation(r, s)

    def notes(self) -> list[str]:
        """Return what the user should know of the file."""
        notes = []
        if self.placeholders:
            names = ", ".join(name.replace("_", " ") for name in self.placeholders)
            notes.append(ZEROS.format(names=names))
        if "density_matrix" in self.placeholders and not written_as_zeros(self.file.input_text):
            notes.append(NO_DENSITY)
        if self.file.end < self.file.state.size:
            is_own = self.file.report == self.file.path
            taken = "it is read in place of the .out file" if is_own else "the .out file is read"
            notes.append(APPENDED.format(taken=taken))
        if self.wrong_position:
            notes.append(f"The position matrix is left out: {self.wrong_position}.")
        if self.file.version == 0 and self.source.spin_orbit:
            notes.append(MISSING_IDM)
        return notes

    def _make(self, quantity: str, maker: Callable[[], NDArray[Any]]) -> AOMatrix:
        """Bring entries into the orbital order of `dock` and wrap them."""
        orders = shell_orders(self.basis, "openmx")
        inverse = {label: order.inverse for label, order in orders.items()}
        entries = reorder_entries(maker(), self.basis, self.pairs, inverse)
        spin = self.spin if QUANTITIES[quantity].has_spin else Spin.NONE
        return AOMatrix(quantity, self.structure, self.basis, self.pairs, spin, entries)

    def _overlap(self) -> NDArray[Any]:
        return self.file.read("overlap")

    def _hamiltonian(self) -> NDArray[Any]:
        real = self.file.read("hamiltonian")
        real *= HARTREE
        if self.spin is not Spin.NONCOLLINEAR:
            return real
        imaginary = self.file.read("hamiltonian_imag")
        imaginary *= HARTREE
        result = np.empty((4, real.shape[1]), dtype=np.complex128)
        result[0].real, result[0].imag = real[0], imaginary[0]
        result[3].real, result[3].imag = real[1], imaginary[1]
        result[1].real, result[1].imag = real[2], real[3] + imaginary[2]
        self._fill_down_up(result)
        return result

    def _density(self) -> NDArray[Any]:
        real = self.file.read("density")
        if self.spin is Spin.NONE:
            return 2.0 * real
        if self.spin is Spin.COLLINEAR:
            return real
        result = np.zeros((4, real.shape[1]), dtype=np.complex128)
        result[0].real, result[3].real = real[0], real[1]
        if "density_imag" in self.file.sections:
            imaginary = self.file.read("density_imag")
            result[0].imag, result[3].imag = -imaginary[0], -imaginary[1]
        result[1].real, result[1].imag = real[2], -real[3]
        self._fill_down_up(result)
        return result

    def _fill_down_up(self, entries: NDArray[Any]) -> None:
        """Set O_du(i, j, R) = O_ud(j, i, −R)†, which the file does not hold."""
        turned = self.layout.transpose(entries[1:2], self.pairs.require_closed())
        np.conjugate(turned[0], out=entries[2])

    def _position(self) -> NDArray[Any]:
        """⟨i|r|j⟩ about the global origin from ⟨i|r − τ_i|j⟩: add τ_i times the overlap."""
        result = self.file.read("position")
        result *= BOHR
        overlap = self.file.read("overlap")[0]
        sizes = self.layout.rows * self.layout.cols
        for axis in range(3):
            origin = self.structure.positions[self.pairs.i, axis]
            result[axis] += np.repeat(origin, sizes) * overlap
        return result

    def _gradient(self) -> NDArray[Any]:
        """⟨i|∇|j⟩: the file holds minus that."""
        result = self.file.read("momentum")
        result *= -1.0 / BOHR
        return result


def _only_scfout(path: Path) -> Path:
    """Return the scfout file of a run folder; several are an error that names them."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.scfout"))
    if len(files) == 1:
        return files[0]
    if not files:
        raise MissingDataError("the scfout file", path, "Run OpenMX with 'HS.fileout on'.")
    raise FormatError(
        path,
        "the folder does not hold exactly one scfout file",
        found=", ".join(file.name for file in files),
        fix="Give the file itself.",
    )


def _periodicity(file: ScfoutFile) -> tuple[bool, bool, bool]:
    """Call a Cluster run whose pairs stay in the home cell a molecule; all else repeats."""
    molecule = file.solver_name == "Cluster" and not np.any(file.pair_R)
    return (not molecule, not molecule, not molecule)


def _provenance(run: _Run) -> Provenance:
    """Keep what only OpenMX understands, so that its scfout can be written again."""
    file, notes = run.file, run.notes()
    extra: dict[str, object] = {
        "input": without_zeros_line(file.input_text),
        "solver": file.solver,
        "temperature_K": file.temperature,
        "core_dipole_debye": file.core_dipole.tolist(),
        "background_dipole_debye": file.background_dipole.tolist(),
        "total_spin": file.total_spin,
        "n_cells": len(file.cells),
    }
    ended = _ended(file)
    if ended is not None:
        extra["converged"] = ended
    if ended is False:
        notes.append(f"{file.path.stem}.out says that the SCF cycle did not converge.")
    if notes:
        extra["notes"] = notes
    version = "3.9" if file.version == 3 else "3.8"
    return Provenance("OpenMX", version, (file.path.name,), "", extra)


def _ended(file: ScfoutFile) -> bool | None:
    """Say whether the SCF cycle converged, as the report of this run has it; None without one."""
    path = file.report
    if path is None:
        return None
    try:
        report = read_out(path, file.end if path == file.path else 0)
    except DockError:  # `dock check` says what is wrong with it
        return None
    return report.converged if report.is_of(file.chemical_potential) else None
