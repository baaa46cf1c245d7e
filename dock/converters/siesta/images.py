"""Lattice vectors of the auxiliary supercell where the matrix file does not hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import MatrixFile, canonical_images
from dock.core.arrays import FloatArray
from dock.core.basis import Basis
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError
from dock.io.binary import Rows, row_slices

__all__ = ["images_of"]

_TOLERANCE = 2e-3  # Bohr: vectors are in single precision, positions have nine decimals


def images_of(
    file: MatrixFile, structure: Structure, basis: Basis, bohr: float
) -> NDArray[np.int32]:
    """Return the (n_images, 3) lattice vectors of a file's supercell; one Bohr is `bohr` Å.

    Version 0 of HSX does not hold them, but the vector between the two orbitals of each entry. From
    it and the structure follows the lattice vector, and so whether the structure belongs to it.

    Raises
    ------
    FormatError
        When the vectors do not fit the structure.
    MissingDataError
        When the file says nothing about its images.
    """
    if file.images is not None:
        return file.images
    if file.nsc is not None:
        return canonical_images(file.nsc)
    if file.vectors is None or file.n_images is None:
        fix = "Files of SIESTA before 4.1 do not hold it: keep the run's HSX file beside it."
        raise MissingDataError("the size of the auxiliary supercell", file.path, fix)
    images = np.zeros((file.n_images, 3), dtype=np.int32)
    seen = np.zeros(file.n_images, dtype=bool)
    positions, cell = structure.positions / bohr, structure.cell / bohr
    atom = np.repeat(np.arange(basis.n_atoms), basis.counts)
    for image, lattice in _lattice_vectors(file, file.vectors, positions[atom], cell):
        if file.n_images > 1:
            images[image], seen[image] = lattice, True
            if np.any(images[image] != lattice):
                _foreign(file, "one lattice vector an image", "several")
    orders = map(canonical_images, _sizes(file.n_images, np.abs(images).max(axis=0)))
    fitting = (order for order in orders if np.array_equal(order[seen], images[seen]))
    ordered = next(fitting, None)
    if ordered is None:
        _foreign(file, f"{file.n_images} images in SIESTA's order", "another order")
    return ordered


def _lattice_vectors(
    file: MatrixFile, vectors: Rows, places: FloatArray, cell: FloatArray
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield image and lattice vector of every entry, a slice of rows at a time.

    `vectors` join the orbitals of each entry; the `places` of the cell's orbitals and the `cell`
    are in Bohr.
    """
    inverse = np.linalg.inv(cell)
    n_columns = file.n_orbitals * (file.n_images or 1)
    for begin, end in row_slices(file.counts):
        columns = file.columns.read(begin, end) - np.int32(1)
        if len(columns) and (columns.min() < 0 or columns.max() >= n_columns):
            _foreign(file, f"columns 1 to {n_columns}", f"{columns.min() + 1}, {columns.max() + 1}")
        image, orbital = np.divmod(columns, np.int32(file.n_orbitals))
        between = vectors.read(begin, end).reshape(-1, 3).astype(np.float64)
        rows = np.repeat(places[begin:end], file.counts[begin:end], axis=0)
        shift = between - places[orbital] + rows
        lattice = np.rint(shift @ inverse)
        error = float(np.abs(shift - lattice @ cell).max(initial=0.0))
        if not error < _TOLERANCE:
            expected = "vectors between orbitals that join the atoms of the structure"
            _foreign(file, expected, f"a deviation of {error:.3g} Bohr")
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


def _foreign(file: MatrixFile, expected: str, found: str) -> NoReturn:
    problem = "the matrices do not belong to the structure found beside them"
    fix = "Keep the .XV or .STRUCT_OUT of the very step that wrote the HSX file beside it."
    raise FormatError(file.path, problem, expected=expected, found=found, fix=fix)
