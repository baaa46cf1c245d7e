"""The matrices of a CP2K run: from CSR files by periodic image, or from the text of AO_MATRICES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.cp2k.ao_matrices import AoMatrices, joined_images, read_ao_matrices
from dock.converters.cp2k.cp2k_log import Cp2kLog
from dock.converters.cp2k.csr_file import (
    REFUSAL,
    Entries,
    completed,
    read_csr,
    require_whole_blocks,
)
from dock.converters.cp2k.images import counted_from_positions, folded_shift
from dock.converters.cp2k.input_file import Section
from dock.converters.cp2k.run import RunFiles
from dock.converters.cp2k.system import System
from dock.converters.sparse_blocks import BlockCollector
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError
from dock.io.text import finite_numbers

__all__ = ["MEASURED", "Run", "overlap_deviation", "overlap_limit", "threshold"]

MEASURED = ("2023.1",)
"""Versions whose files were measured; of any other the overlap must be that of the basis set."""

_SAME_OVERLAP = 1e-5

_SAME_IMAGES = 1e-7
_PRINT = {"overlap": "S_CSR_WRITE", "hamiltonian": "KS_CSR_WRITE"}


def overlap_limit(eps_default: float) -> float:
    """Return the largest |ΔS| that CP2K's cut-off of Gaussians explains.

    They end where they have fallen to √EPS_DEFAULT. Measured: 2e-9 at 1e-12, 4e-6 at 1e-8.
    """
    return max(_SAME_OVERLAP, float(np.sqrt(eps_default)))


def overlap_deviation(calc: Calculation) -> float:
    """Return the largest |ΔS| between a run's overlap and that of its basis set.

    A run at Γ alone is summed over all lattice vectors; so is what is computed.
    """
    from dock.core.kspace import KBuilder
    from dock.overlap.assemble import Integrals

    stored = calc.require("overlap")
    if calc.only_gamma:
        mine = Integrals.prepare(calc.structure, calc.basis).matrix("overlap", jobs=1)
        theirs, own = (np.asarray(KBuilder(S).dense([0, 0, 0])) for S in (stored, mine))
        return float(np.abs(theirs - own).max())
    integrals = Integrals.prepare(calc.structure, calc.basis, pairs=stored.pairs)
    mine = integrals.matrix("overlap", jobs=1)
    return float(np.abs(mine.entries - stored.entries).max())


@dataclass(frozen=True, eq=False)
class Run:
    """The files of one run and what they refer to."""

    files: RunFiles
    dft: Section
    system: System
    basis: Basis

    @property
    def log(self) -> Cp2kLog:
        """The log of the run."""
        return self.files.log

    @property
    def spin(self) -> Spin:
        """The spin treatment."""
        return Spin.COLLINEAR if self.log.n_spins == 2 else Spin.NONE

    @property
    def is_folded(self) -> bool:
        """Whether the matrices are summed over the images of a crystal."""
        return any(self.system.structure.pbc) and not self.files.by_image

    @property
    def eps_default(self) -> float:
        """CP2K's EPS_DEFAULT."""
        text = (self.dft.find("QS") or Section("QS")).value("EPS_DEFAULT") or ""
        return (finite_numbers(text.split(), 1) or [1e-10])[0]

    def print_section(self, quantity: str) -> Section:
        """Return the section of the input that made a quantity's CSR files; empty if none did."""
        return self.dft.find("PRINT", _PRINT[quantity]) or Section(_PRINT[quantity])

    def readers(self) -> dict[str, Callable[[], AOMatrix]]:
        """Return what reads each matrix."""
        quantities = [*self.files.matrices]
        if self.files.ao is not None and (self.files.by_image or not self._has_k_points):
            quantities += ["overlap", "hamiltonian", "density_matrix"]
            there = self._ao_quantities()
            quantities = [
                name for name in quantities if name in self.files.matrices or name in there
            ]
        if not quantities:
            raise FormatError(
                self.files.folder,
                "AO_MATRICES of a run with k-points do not say which image each one is",
                fix="Add KS_CSR_WRITE and S_CSR_WRITE with REAL_SPACE .TRUE. and run CP2K again.",
            )
        return {name: partial(self.read, name) for name in dict.fromkeys(quantities)}

    @property
    def _has_k_points(self) -> bool:
        return self.dft.find("KPOINTS") is not None

    def _ao_quantities(self) -> set[str]:
        wanted = self.dft.find("PRINT", "AO_MATRICES") or Section("AO_MATRICES")
        keywords = {
            "overlap": ("OVERLAP",), "hamiltonian": ("KOHN_SHAM_MATRIX", "KS", "KOHN-SHAM_MATRIX"),
            "density_matrix": ("DENSITY", "P"),
        }  # fmt: skip
        named = {name for name, words in keywords.items() if wanted.flag(*words)}
        return named if not self.files.by_image else named & {"density_matrix"}

    def read(self, quantity: str) -> AOMatrix:
        """Read one matrix."""
        if quantity in self.files.matrices:
            pairs, entries = self._from_csr(quantity)
        else:
            pairs, entries = self._from_text(quantity)
        if self.files.by_image:
            pairs = counted_from_positions(pairs, self._shift)
        entries = entries * (self.log.hartree_ev if quantity == "hamiltonian" else 1.0)
        matrix = self._matrix(quantity, pairs, entries)
        if quantity != "overlap":
            self._require_measured()
        elif self.log.version not in MEASURED:
            self._hold_against_basis(matrix)
        return matrix

    def _matrix(self, quantity: str, pairs: Pairs, entries: NDArray[np.float64]) -> AOMatrix:
        spin = Spin.NONE if quantity == "overlap" else self.spin
        return AOMatrix(quantity, self.system.structure, self.basis, pairs, spin, entries)

    @cached_property
    def _shift(self) -> NDArray[np.int64]:
        """(n_atoms, 3) the cell that CP2K counts each atom into."""
        quantity = "overlap" if "overlap" in self.files.matrices else "hamiltonian"
        return folded_shift(
            self.system.structure, lambda: self._matrix(quantity, *self._from_csr(quantity))
        )

    def _vectors(self, quantity: str) -> NDArray[np.int64]:
        if not self.files.by_image:
            return np.zeros((1, 3), dtype=np.int64)
        return self.log.images["S" if quantity == "overlap" else "KS"]

    def _from_csr(self, quantity: str) -> tuple[Pairs, NDArray[np.float64]]:
        section = self.print_section(quantity)
        upper = section.flag("UPPER_TRIANGULAR")
        vectors, size = self._vectors(quantity), self.basis.n_orbitals
        channels = []
        for paths in self.files.matrices[quantity]:
            parts = [read_csr(path, size) for path in paths]
            if threshold(section) == 0:
                for path, part in zip(paths, parts, strict=True):
                    require_whole_blocks(path, part, self.basis, upper=upper)
            _require_diagonal(paths, vectors, parts, self.basis)
            channels.append(completed(vectors, parts) if upper else parts)
        pairs, entries = self._collected(vectors, channels)
        matrix = self._matrix(quantity, pairs, entries)
        if matrix.hermiticity_error() > _SAME_IMAGES:
            REFUSAL.damaged(
                self.files.folder,
                f"the files of the {quantity} do not fit one another",
                "blocks of R that are those of −R, transposed",
                f"a difference of {matrix.hermiticity_error():.1e}: a file is of another run",
            )
        return pairs, entries

    def _collected(
        self, vectors: NDArray[np.int64], channels: list[list[Entries]]
    ) -> tuple[Pairs, NDArray[np.float64]]:
        """Return the blocks of matrices given for each channel and lattice vector."""
        blocks = BlockCollector(self.basis, "cp2k", len(channels), np.float64)
        for place, R in enumerate(vectors.tolist()):
            parts = [channel[place] for channel in channels]
            numbers = [np.full(len(part.rows), number) for number, part in enumerate(parts)]
            rows, cols, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            blocks.add((R[0], R[1], R[2]), rows, cols, values, np.concatenate(numbers))
        return blocks.finish()

    @cached_property
    def _ao(self) -> AoMatrices:
        path = self.files.ao
        if path is None:  # `readers` names no quantity of it then
            raise LayoutError(f"{self.files.folder}: there is no file of AO_MATRICES.")
        return read_ao_matrices(path, self.basis)

    def _from_text(self, quantity: str) -> tuple[Pairs, NDArray[np.float64]]:
        channels = 1 if quantity == "overlap" else self.log.n_spins
        parts = [self._ao.values.get((quantity, spin)) for spin in range(channels)]
        found = [part for part in parts if part is not None]
        if len(found) < channels:
            problem, wanted = f"the {quantity} is not whole", f"{channels} spin channel(s)"
            REFUSAL.damaged(self.files.ao or Path(), problem, wanted, len(found))
        if self.files.by_image:
            return self._images_from_text(found)
        if any(len(part) != 1 for part in found):
            problem = f"there are several matrices of the {quantity}"
            REFUSAL.damaged(self.files.ao or Path(), problem, "one", len(found[0]))
        everywhere = [[_dense(part[0])] for part in found]
        return self._collected(np.zeros((1, 3), dtype=np.int64), everywhere)

    def _images_from_text(
        self, parts: list[NDArray[np.float64]]
    ) -> tuple[Pairs, NDArray[np.float64]]:
        """Return the blocks of a matrix printed image by image, in the order of the CSR files.

        The overlap printed beside it tells whether that order is right.
        """
        printed = self._ao.values.get(("overlap", 0))
        vectors = self.log.images.get("S", np.zeros((0, 3), dtype=np.int64))
        path = self.files.ao or Path()
        if printed is None or "overlap" not in self.files.matrices:
            fix = "Give OVERLAP in AO_MATRICES and S_CSR_WRITE too: they tell which image is which."
            raise FormatError(path, "the images of the density matrix are not named", fix=fix)
        counts = {len(printed), *(len(part) for part in parts)}
        stored = self._matrix("overlap", *self._from_csr("overlap"))
        if len(counts) == 1 and len(printed) <= len(vectors):
            chosen = vectors[: len(printed)]
            own = self._matrix("overlap", *self._joined(chosen, [printed]))
            pairs = own.pairs.union(stored.pairs)
            apart = own.on_pairs(pairs).entries - stored.on_pairs(pairs).entries
            if float(np.abs(apart).max()) < max(_SAME_IMAGES, 10.0**-self._ao.digits):
                return self._joined(chosen, parts)
        raise FormatError(
            path,
            "the overlap printed here is not that of the CSR files",
            expected=f"images in the order of {self.log.path.name}",
            found=f"{len(printed)} images in another order, or of another run",
            fix="Leave the density matrix out: choose matrices with quantities=H,S.",
        )

    def _joined(
        self, vectors: NDArray[np.int64], parts: list[NDArray[np.float64]]
    ) -> tuple[Pairs, NDArray[np.float64]]:
        joined = [joined_images(vectors, part, self.basis) for part in parts]
        places = np.array(sorted({R for channel in joined for R in channel}), dtype=np.int64)
        empty = _dense(np.zeros((0, 0)))
        channels = [[one.get((R[0], R[1], R[2]), empty) for R in places.tolist()] for one in joined]
        return self._collected(places, channels)

    def _require_measured(self) -> None:
        """Refuse a version that was not measured, where no overlap tells its layout."""
        if self.log.version in MEASURED:
            return
        if "overlap" not in self.readers():
            raise FormatError(
                self.files.folder,
                f"CP2K {self.log.version} was not measured, and there is no overlap to verify it",
                expected=f"CP2K {' or '.join(MEASURED)}, or S_CSR_WRITE beside KS_CSR_WRITE",
                found=f"CP2K {self.log.version}",
                fix="Add S_CSR_WRITE with REAL_SPACE .TRUE. and run CP2K again.",
            )
        self.read("overlap")

    def _hold_against_basis(self, matrix: AOMatrix) -> None:
        """Refuse an overlap of other order, signs or images than that of the basis set."""
        extra: dict[str, Any] = {"gamma_only": True} if self.is_folded else {}
        provenance = Provenance("CP2K", extra=extra)
        structure, basis = self.system.structure, self.basis
        held = Calculation(structure, basis, Spin.NONE, {"overlap": matrix}, provenance=provenance)
        apart = overlap_deviation(held)
        limit = overlap_limit(self.eps_default)
        if apart > limit:
            raise FormatError(
                self.files.folder,
                f"the overlap of CP2K {self.log.version} is not that of its basis set",
                expected=f"differences below {limit:g}, as of CP2K {' or '.join(MEASURED)}",
                found=f"{apart:.1e}",
                fix="The files have another layout, or the basis file is another one: report it "
                "with the version.",
            )


def _dense(matrix: NDArray[np.float64]) -> Entries:
    """Return all entries of a matrix."""
    rows, cols = np.indices(matrix.shape).reshape(2, -1)
    return Entries(rows.astype(np.int64), cols.astype(np.int64), matrix.ravel())


def threshold(section: Section) -> float:
    """Return the smallest entry that a section of CSR files writes."""
    values = finite_numbers((section.value("THRESHOLD") or "0").split(), 1)
    return values[0] if values is not None else 0.0


def _require_diagonal(
    paths: tuple[Path, ...], vectors: NDArray[np.int64], parts: list[Entries], basis: Basis
) -> None:
    """Refuse a matrix of R = 0 in which an atom has no entry with itself: the file was cut."""
    home = int(np.flatnonzero(~vectors.any(axis=1))[0])
    atom = basis.table.atom
    rows, cols, _ = parts[home]
    there = np.unique(atom[rows][atom[rows] == atom[cols]])
    if len(there) != basis.n_atoms:
        missing = int(np.setdiff1d(np.arange(basis.n_atoms), there)[0]) + 1
        REFUSAL.damaged(
            paths[home],
            "the matrix is smaller than the basis",
            f"{basis.n_orbitals} orbitals of {basis.n_atoms} atoms",
            f"no entry of atom {missing}: the file is cut, or of another run",
        )
