"""The matrices that CP2K writes as text with AO_MATRICES, two columns or so at a time.

Each row has the orbital's number, its atom, the element and the orbital's name (``3py``, ``4d-2``).
With k-points CP2K writes a matrix for each periodic image, without saying which, and every one made
symmetric from what it stores of it: the images R and −R together have all numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.cp2k.csr_file import Entries
from dock.core.basis import SHELL_LETTERS, Basis
from dock.errors import FormatError
from dock.io.text import finite_numbers, load_text, require_line_end

__all__ = ["AoMatrices", "is_ao_file", "joined_images", "read_ao_matrices"]

_TITLE = re.compile(r"([A-Z][A-Z0-9' -]*?) MATRIX(?: FOR (ALPHA|BETA) SPIN)?")
_QUANTITIES = {
    "OVERLAP": "overlap", "KOHN-SHAM": "hamiltonian", "DENSITY": "density_matrix",
}  # fmt: skip
_FIX = "The file is cut, of another run, or was edited: copy it again, or run CP2K again."
_P = ("y", "z", "x")


class AoMatrices(NamedTuple):
    """Matrices by quantity and spin channel (0, 1), each of (n_images, N, N) in Hartree or 1.

    `digits` is how many decimals they were printed with.
    """

    values: dict[tuple[str, int], NDArray[np.float64]]
    digits: int


def is_ao_file(path: Path) -> bool:
    """Say whether a file begins with such a matrix."""
    try:
        with path.open("rb") as stream:
            head = stream.read(400).decode("ascii", "replace").split("\n")
    except OSError:
        return False
    words = next((line.strip() for line in head if line.strip()), "")
    return _TITLE.fullmatch(words) is not None


def read_ao_matrices(path: Path, basis: Basis) -> AoMatrices:
    """Read a file of such matrices; those that `dock` does not know are passed over.

    Raises
    ------
    FormatError
        When the file is cut, or its orbitals are not those of the basis.
    """
    text = load_text(path, "a file of AO_MATRICES", "CP2K")
    require_line_end(path, text)
    names = _orbital_names(basis)
    found: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    matrix: NDArray[np.float64] | None = None
    columns: list[int] = []
    digits = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        title = _TITLE.fullmatch(line.strip())
        if title is not None:
            key = _QUANTITIES.get(title[1]), int(title[2] == "BETA")
            matrix = np.full((len(names), len(names)), np.nan)
            if key[0] is not None:
                found.setdefault((key[0], key[1]), []).append(matrix)
        elif matrix is None or not words:
            continue
        elif all(word.isdecimal() for word in words):
            columns = [int(word) - 1 for word in words]
        else:
            row, values = _row(path, number, words, names, len(columns))
            if max(columns) >= len(names):
                _refuse(path, number, f"columns up to {len(names)}", str(max(columns) + 1))
            matrix[row, columns] = values
            digits = max(digits, len(words[-1].partition(".")[2]))
    for (quantity, _), parts in found.items():
        if any(np.isnan(part).any() for part in parts):
            raise FormatError(
                path,
                f"a matrix is not whole: {quantity}",
                expected=f"{len(names)} rows and columns",
                found="fewer",
                fix=_FIX,
            )
    return AoMatrices({key: np.array(parts) for key, parts in found.items()}, digits)


def _row(
    path: Path, number: int, words: list[str], names: Sequence[tuple[str, str]], count: int
) -> tuple[int, list[float]]:
    """Return the orbital, from 0, and the values of a row, held against the basis."""
    place = int(words[0]) - 1 if words[0].isdecimal() else -1
    values = finite_numbers(words[4:], count)
    if not 0 <= place < len(names) or values is None:
        expected = f"an orbital up to {len(names)} and {count} numbers"
        _refuse(path, number, expected, " ".join(words)[:60])
    atom, name = names[place]
    if words[1] != atom or re.sub(r"^\d+", "", words[3]) != name:
        expected = f"orbital {place + 1} as {name} of atom {atom}, by the basis set"
        _refuse(path, number, expected, f"{words[3]} of atom {words[1]}")
    return place, values


def _refuse(path: Path, line: int, expected: str, found: str) -> NoReturn:
    raise FormatError(
        path, "a row does not fit", where=f"line {line}", expected=expected, found=found, fix=_FIX
    )


def _orbital_names(basis: Basis) -> list[tuple[str, str]]:
    """Return atom, from 1, and CP2K's name without n of each orbital."""
    table = basis.table
    names = []
    for atom, l, m in zip(table.atom.tolist(), table.l.tolist(), table.m.tolist(), strict=True):
        suffix = _P[m + 1] if l == 1 else "" if l == 0 else f"{m:+d}" if m else "0"
        letter = SHELL_LETTERS[l] if l < len(SHELL_LETTERS) else "?"
        names.append((str(atom + 1), letter + suffix))
    return names


def joined_images(
    vectors: NDArray[np.int64], matrices: NDArray[np.float64], basis: Basis
) -> dict[tuple[int, int, int], Entries]:
    """Return O(R) of matrices that were printed image by image, each made symmetric.

    Measured: what CP2K stores of an image R, and therefore prints rightly, are the blocks ⟨i|O|j⟩
    of atoms i > j where i + j is odd and i < j where it is even, and of i = j the elements on and
    above the diagonal; the others are those of −R, transposed. `vectors` are (n, 3), `matrices`
    (n, N, N); an image that is not there is zero.
    """
    atom, orbital = basis.table.atom, np.arange(basis.n_orbitals)
    same, is_odd = atom[:, None] == atom, (atom[:, None] + atom) % 2 == 1
    below = np.where(is_odd, atom[:, None] > atom, atom[:, None] < atom)
    stored = below | (same & (orbital[:, None] <= orbital))
    strict = stored & (orbital[:, None] != orbital)
    images = {tuple(R): matrix for R, matrix in zip(vectors.tolist(), matrices, strict=True)}
    zero = np.zeros_like(matrices[0])
    result = {}
    for R in {*images, *(tuple(-x for x in R) for R in images)}:
        minus = images.get(tuple(-x for x in R), zero)
        whole = np.where(stored, images.get(R, zero), 0.0) + np.where(strict, minus, 0.0).T
        rows, cols = np.nonzero(whole)
        result[R[0], R[1], R[2]] = Entries(rows, cols, whole[rows, cols])
    return result
