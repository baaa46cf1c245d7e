"""SIESTA's EIG and KP files: Fermi level and eigenvalues, and the k-points that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.text import cut, file_numbers, word_numbers
from dock.io.files import readable

__all__ = ["Eigenvalues", "KPoints", "read_eig", "read_fermi", "read_kp"]


class Eigenvalues(NamedTuple):
    """Fermi level and (n_k, n_channels, n_bands) energies, eV (with that SIESTA's constants).

    Non-collinear and spin–orbit runs have one channel of twice as many levels, whatever the header
    says.
    """

    fermi: float
    energies: NDArray[np.float64]


class KPoints(NamedTuple):
    """The content of a KP file: (n_k, 3) Cartesian k in 1/Bohr with 2π, and the weights."""

    cartesian: NDArray[np.float64]
    weights: NDArray[np.float64]

    def fractional(self, cell_bohr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points in units of the reciprocal lattice vectors (six digits are on file)."""
        return self.cartesian @ np.asarray(cell_bohr).T / (2 * np.pi)


def read_fermi(path: Path) -> float:
    """Return the Fermi level (eV) that an EIG file starts with."""
    with readable(path), path.open("rb") as stream:
        line = stream.readline(200)
    if not line.endswith(b"\n"):
        cut(path, "a line with the Fermi level", line[:40])
    return float(word_numbers(path, line.split()[:1], 1, (1, 1))[0])


def read_eig(path: Path) -> Eigenvalues:
    """Read an EIG file.

    Raises
    ------
    FormatError
        When it is cut or holds other things than numbers.
    """
    values = file_numbers(path)
    if len(values) < 4:
        cut(path, "the Fermi level and three sizes", len(values))
    n_bands, n_spin, n_k = (int(value) for value in values[1:4])
    channels = 2 if n_spin == 2 else 1
    expected = 4 + n_k * (1 + channels * n_bands)
    if min(n_bands, n_spin, n_k) < 1 or len(values) != expected:
        cut(path, f"{expected} numbers for {n_k} k-points and {n_bands} bands", len(values))
    table = values[4:].reshape(n_k, 1 + channels * n_bands)
    return Eigenvalues(float(values[0]), table[:, 1:].reshape(n_k, channels, n_bands))


def read_kp(path: Path) -> KPoints:
    """Read a KP file; raises as `read_eig`."""
    values = file_numbers(path)
    if len(values) < 1 or len(values) != 1 + 5 * int(values[0]):
        cut(path, "the number of k-points, then five numbers for each", f"{len(values)} numbers")
    rows = values[1:].reshape(-1, 5)
    return KPoints(rows[:, 1:4], rows[:, 4])
