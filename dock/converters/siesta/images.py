"""Lattice vectors of the auxiliary supercell where the matrix file does not hold them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import MatrixFile, canonical_images
from dock.core.basis import Basis
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError
from dock.io.binary import row_slices

__all__ = ["supercell_of"]

_TOLERANCE = 2e-3  # Bohr: vectors are in single precision, positions have nine decimals


def supercell_of(
    file: MatrixFile, structure: Structure, basis: Basis, bohr: float
) -> tuple[tuple[int, int, int], NDArray[np.int32]]:
    """Return the supercell sizes of a file and the lattice vector of each image.

    Version 0 of HSX holds neither, but the vector between the two orbitals of each entry. From it
    and the structure follows the lattice vector, and so whether the structure belongs to it.

    Parameters
    ----------
    file
        The matrix file.
    structure, basis
        Of the run.
    bohr
        One Bohr in Å.

    Raises
    ------
    FormatError
        When the vectors do not fit the structure.
    MissingDataError
        When the file says nothing about its images.
    """
    if file.images is not None and file.nsc is not None:
        return file.nsc, file.images
    if file.nsc is not None:
        return file.nsc, canonical_images(file.nsc)
    if file.vectors is not None and file.n_images is not None:
        return _from_vectors(file, structure, basis, bohr)
    raise MissingDataError(
        "the size of the auxiliary supercell",
        file.path,
        "Files of SIESTA before 4.1 do not hold it: keep the run's HSX file beside it.",
    )


def _from_vectors(
    file: MatrixFile, structure: Structure, basis: Basis, bohr: float
) -> tuple[tuple[int, int, int], NDArray[np.int32]]:
    n_images = file.n_images or 1
    images = np.zeros((n_images, 3), dtype=np.int32)
    seen = np.zeros(n_images, dtype=bool)
    for image, lattice in _lattice_vectors(file, structure, basis, bohr):
        if n_images > 1:
            images[image], seen[image] = lattice, True
            if np.any(images[image] != lattice):
                _foreign(file, "one lattice vector an image", "several")
    for nsc in _sizes(n_images, np.abs(images).max(axis=0)):
        ordered = canonical_images(nsc)
        if np.array_equal(ordered[seen], images[seen]):
            return nsc, ordered
    _foreign(file, f"{n_images} images in SIESTA's order", "another order")
    raise AssertionError  # pragma: no cover - _foreign raises


def _lattice_vectors(
    file: MatrixFile, structure: Structure, basis: Basis, bohr: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Yield image and lattice vector of every entry, a slice of rows at a time."""
    positions, cell = structure.positions / bohr, structure.cell / bohr
    inverse = np.linalg.inv(cell)
    atom = np.repeat(np.arange(basis.n_atoms), basis.counts)
    if file.vectors is None:
        return
    for begin, end in row_slices(file.counts):
        columns = file.columns.read(begin, end) - np.int32(1)
        vectors = file.vectors.read(begin, end).reshape(-1, 3).astype(np.float64)
        n_columns = file.n_orbitals * (file.n_images or 1)
        if len(columns) and (columns.min() < 0 or columns.max() >= n_columns):
            _foreign(file, f"columns 1 to {n_columns}", f"{columns.min() + 1}, {columns.max() + 1}")
        image, orbital = np.divmod(columns, np.int32(file.n_orbitals))
        rows = np.repeat(atom[begin:end], file.counts[begin:end])
        shift = vectors - positions[atom[orbital]] + positions[rows]
        lattice = np.rint(shift @ inverse)
        error = float(np.abs(shift - lattice @ cell).max(initial=0.0))
        if not error < _TOLERANCE:
            _foreign(
                file,
                "vectors between orbitals that join the atoms of the structure",
                f"a deviation of {error:.3g} Bohr",
            )
        yield image, lattice.astype(np.int32)


def _sizes(n_images: int, reach: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """Yield the triples of odd numbers with that product and reach, the fitting ones first."""
    least = 2 * reach.astype(int) + 1
    for first in range(int(least[0]), n_images + 1, 2):
        if n_images % first:
            continue
        rest = n_images // first
        for second in range(int(least[1]), rest + 1, 2):
            if rest % second == 0 and (rest // second) % 2 == 1 and rest // second >= least[2]:
                yield first, second, rest // second


def _foreign(file: MatrixFile, expected: str, found: str) -> None:
    raise FormatError(
        file.path,
        "the matrices do not belong to the structure found beside them",
        expected=expected,
        found=found,
        fix="Keep the .XV or .STRUCT_OUT of the very step that wrote the HSX file beside it.",
    )
