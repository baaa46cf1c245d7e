"""Read the matrices of an ABACUS run into the units, order and spin components of `dock`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.hr_csr import CsrFile
from dock.converters.abacus.hr_dat import DatFile
from dock.converters.abacus.hr_npz import npz_blocks, npz_structure
from dock.converters.abacus.run import RunFiles
from dock.converters.abacus.sparse import LETTERS, SparseBlock, SparseFile, StepStructure
from dock.converters.sparse_blocks import BlockCollector
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.io.text import CUT_FIX
from dock.units import ABACUS

__all__ = ["UNITS", "MatrixReader", "from_pauli", "sparse_file", "to_pauli"]

UNITS = {
    "hamiltonian": ABACUS.rydberg_ev,
    "overlap": 1.0,
    "density_matrix": 1.0,
    "kinetic": ABACUS.rydberg_ev,
    "position": ABACUS.bohr_angstrom,
}
"""What one unit of each file is in `dock`."""

_ZERO_FIX = (
    "Builds of ABACUS 3.11.0-beta write such files with nspin 2: run it again with version 3.10 or "
    "a newer one. Or the file is cut behind its header: copy it again."
)
_NAN_FIX = "The run that wrote it went wrong: look at its log, and run it again."
_SAME_PLACE = 1e-6  # of a lattice vector
_SPIN_NOISE = 1e-7  # the spin parts of an operator without spin differ by printing only


def sparse_file(path: Path, size: int, n_vector: int = 1) -> SparseFile:
    """Return a file of sparse matrices, text or native binary as its ending says."""
    return (DatFile if path.suffix == ".dat" else CsrFile)(path, size, n_vector)


@dataclass(frozen=True, eq=False)
class MatrixReader:
    """The matrix files of one run and what they refer to.

    Parameters
    ----------
    files
        The files.
    structure, basis, spin
        What the matrices refer to.
    step
        The ionic step, from 0; None for the only one.
    version
        Of ABACUS, for messages.
    """

    files: RunFiles
    structure: Structure
    basis: Basis
    spin: Spin
    step: int | None = None
    version: str = ""

    def readers(self) -> dict[str, Callable[[], AOMatrix]]:
        """Return a function for each matrix that is there."""
        return {name: partial(self.read, name) for name in self.files.matrices if self._has(name)}

    def _has(self, quantity: str) -> bool:
        """Say whether a file has the step; a relaxation overwrites T and r at each."""
        if self.step is None or quantity not in ("kinetic", "position"):
            return True
        path = self.files.matrices[quantity][0]
        numbers = [
            step.number for step in sparse_file(path, 0, QUANTITIES[quantity].n_vector).steps
        ]
        return self.step in numbers

    def read(self, quantity: str) -> AOMatrix:
        """Read one matrix.

        Raises
        ------
        FormatError
            When a file is damaged or does not fit the basis.
        """
        paths = self.files.matrices[quantity]
        if QUANTITIES[quantity].has_spin and self.spin is Spin.COLLINEAR:
            return self._collinear(quantity, paths)
        return self._single(quantity, paths[0])

    def _collinear(self, quantity: str, paths: tuple[Path, ...]) -> AOMatrix:
        if len(paths) != 2:
            raise FormatError(
                self.files.folder,
                f"one spin of the {quantity.replace('_', ' ')} is missing",
                expected="two files",
                found=paths[0].name,
                fix="Copy the other one there.",
            )
        up, down = (self._single(quantity, path) for path in paths)
        up, down = up.aligned(down)
        entries = np.concatenate([up.entries, down.entries])
        return AOMatrix(quantity, self.structure, self.basis, up.pairs, Spin.COLLINEAR, entries)

    def _single(self, quantity: str, path: Path) -> AOMatrix:
        """Read one file: without spin, one spin, or spinors."""
        facts = QUANTITIES[quantity]
        spinor = facts.has_spin and self.spin is Spin.NONCOLLINEAR
        n_components = 4 if spinor else facts.n_vector
        dtype = np.complex128 if spinor else np.float64
        collector = BlockCollector(self.basis, "abacus", n_components, dtype)
        blocks = self._blocks(path, quantity)
        for R, parts in groupby(blocks, key=lambda block: block.R):
            self._collect(collector, path, R, list(parts), spinor=spinor)
        pairs, entries = collector.finish()
        if not np.isfinite(entries).all():
            raise FormatError(path, "the matrix has NaN or infinite values", fix=_NAN_FIX)
        if quantity == "overlap" and not np.any(entries):
            raise FormatError(path, "the overlap is zero", fix=CUT_FIX)
        if quantity == "hamiltonian" and not np.any(entries):
            written = f"a file of ABACUS v{self.version}" if self.version else None
            raise FormatError(path, "the Hamiltonian is zero", found=written, fix=_ZERO_FIX)
        if spinor and quantity == "density_matrix":
            entries = from_pauli(entries)
        entries *= UNITS[quantity]
        spin = Spin.NONCOLLINEAR if spinor else Spin.NONE
        return AOMatrix(quantity, self.structure, self.basis, pairs, spin, entries)

    def _blocks(self, path: Path, quantity: str) -> Iterator[SparseBlock]:
        """Yield the sparse matrices of a file, whatever its layout, if it is of this structure."""
        size = self.basis.n_orbitals * (2 if self.spin is Spin.NONCOLLINEAR else 1)
        if path.suffix == ".npz":
            self._require_same(path, npz_structure(path))
            return npz_blocks(path, self.basis, size)
        facts = QUANTITIES[quantity]
        file = sparse_file(path, size, facts.n_vector)
        step = file.choose(self.step)
        is_main = quantity in ("hamiltonian", "overlap")
        if is_main and self.step is None and step.number and step.offset:
            _foreign(path, "one ionic step, as in the log", f"{step.number + 1} of them")
        header = file.header(step)
        if header.letter in LETTERS.values() and header.letter != LETTERS[quantity]:
            _foreign(path, f"the matrix {LETTERS[quantity]}, as its name says", header.letter)
        channel = self.files.matrices[quantity].index(path)
        if facts.has_spin and header.channel not in (None, channel):
            _foreign(path, f"spin index {channel + 1}", header.channel + 1)
        self._require_same(path, header.structure)
        return file.blocks(step)

    def _require_same(self, path: Path, found: StepStructure | None) -> None:
        """Refuse a file whose header has other atoms than the run."""
        if found is None:
            return
        structure = self.structure
        mine = [structure.labels if found.labels else (), tuple(structure.numbers.tolist())]
        theirs = [found.labels, found.numbers or mine[1]]
        if mine != theirs:
            _foreign(path, f"the atoms {mine[0] or mine[1]}", f"{theirs[0] or theirs[1]}")
        shift = found.fractional - structure.fractional
        moved = float(np.abs(shift - np.rint(shift)).max())
        if moved > _SAME_PLACE:
            _foreign(
                path,
                "the positions of the run at this step",
                f"positions that differ by up to {moved:.2g} of a lattice vector",
            )

    def _collect(
        self,
        collector: BlockCollector,
        path: Path,
        R: tuple[int, int, int],
        parts: list[SparseBlock],
        *,
        spinor: bool,
    ) -> None:
        """Hand the entries of one lattice vector over, spin sorted out."""
        if self.spin is Spin.NONCOLLINEAR and not spinor:
            parts = [_without_spin(path, part) for part in parts]
        rows = _joined([part.rows for part in parts])
        cols = _joined([part.cols for part in parts])
        values = _joined([part.values for part in parts])
        components: NDArray[Any] | None = None
        if spinor:
            components = (2 * (rows % 2) + cols % 2).astype(np.int8)
            rows, cols = rows // 2, cols // 2
        else:
            if any(part.component for part in parts):  # position matrices
                numbers = np.array([part.component for part in parts], dtype=np.int8)
                components = np.repeat(numbers, [len(part.rows) for part in parts])
            values = self._real(path, R, values)
        collector.add(R, rows, cols, values, components)

    def _real(self, path: Path, R: tuple[int, int, int], values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind != "c":
            return values
        if np.any(values.imag):
            raise FormatError(
                path,
                "the matrix is complex",
                where=f"R = {R}",
                expected=f"real numbers, as the run has {self.spin.value} spin",
                fix="The file belongs to another run (nspin 4).",
            )
        return values.real


def _foreign(path: Path, expected: str, found: object) -> NoReturn:
    raise FormatError(
        path,
        "this file does not belong to the others of the run",
        where="the header",
        expected=expected,
        found=found,
        fix="It was renamed, or files of two runs lie here: keep those of one.",
    )


def _joined(fields: list[NDArray[Any]]) -> NDArray[Any]:
    """Return one field of all parts, without a copy where there is but one part."""
    return fields[0] if len(fields) == 1 else np.concatenate(fields)


def _without_spin(path: Path, part: SparseBlock) -> SparseBlock:
    """Return the up part of an operator without spin that is written for both spins."""
    up = (part.rows % 2 == 0) & (part.cols % 2 == 0)
    down = (part.rows % 2 == 1) & (part.cols % 2 == 1)
    rest = np.abs(part.values[~(up | down)]).max(initial=0.0)
    same = np.array_equal(part.rows[up] + 1, part.rows[down])
    same = same and np.array_equal(part.cols[up] + 1, part.cols[down])
    error = np.abs(part.values[up] - part.values[down]).max(initial=0.0) if same else np.inf
    if max(rest, error) > _SPIN_NOISE:
        raise FormatError(
            path,
            "the spins differ in an operator that has none",
            where=f"R = {part.R}",
            expected="the same numbers for both spins and none between them",
            found=f"a difference of {max(rest, error):.1e}",
            fix="The file is damaged: copy it again.",
        )
    values = part.values[up].real
    return part._replace(rows=part.rows[up] // 2, cols=part.cols[up] // 2, values=values)


def from_pauli(entries: NDArray[Any]) -> NDArray[np.complex128]:
    """Return (uu, ud, du, dd) from the four numbers n, m_x, m_y, m_z that ABACUS keeps.

    ud = (m_x − i m_y)/2 and du = (m_x + i m_y)/2; see `to_pauli` for the other way.
    """
    n, mx, my, mz = (row.real for row in entries)
    result = np.empty((4, entries.shape[1]), dtype=np.complex128)
    result[0], result[3] = 0.5 * (n + mz), 0.5 * (n - mz)
    result[1], result[2] = 0.5 * (mx - 1j * my), 0.5 * (mx + 1j * my)
    return result


def to_pauli(entries: NDArray[Any]) -> NDArray[np.float64]:
    """Return n = Re(uu + dd), m_x = Re(ud + du), m_y = Im(du − ud), m_z = Re(uu − dd)."""
    uu, ud, du, dd = entries
    parts = [(uu + dd).real, (ud + du).real, (du - ud).imag, (uu - dd).real]
    return np.stack(parts)
