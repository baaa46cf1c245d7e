"""Does a Hamiltonian turn with its structure? Rotated copies, and the test of what they give.

With positions r → Q r the blocks obey H' = D_i(Q) H D_j(Q)ᵀ, equation (6) of the DeepH-pack paper.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters import WriteOptions, write
from dock.converters.deeph import read
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.folder import FILES, PREDICTION
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.core.wigner import orthogonal_matrix
from dock.errors import FormatError, LayoutError, MissingDataError, UsageError
from dock.io.files import write_text
from dock.io.progress import Progress, Report
from dock.io.text import json_text
from dock.results import Result, table

__all__ = [
    "ROTATION",
    "Equivariance",
    "EquivarianceError",
    "find_rotation",
    "measure",
    "random_rotations",
    "rotate_calculation",
    "write_rotated",
]

ROTATION = "rotation.json"
"""File in each rotated folder: the matrix Q that turns the original into it."""

_CLOSE = 1e-3  # Å by which a rotated structure may miss its original


@dataclass(frozen=True)
class EquivarianceError:
    """How far one copy is from the rotated original.

    Attributes
    ----------
    name
        The copy's folder.
    angle
        Angle of the rotation in degrees.
    improper
        Whether the rotation goes with an inversion.
    rms, mean, largest
        Of the entries of H' − D H D†, eV.
    """

    name: str
    angle: float
    improper: bool
    rms: float
    mean: float
    largest: float

    def facts(self) -> dict[str, Any]:
        """Return the numbers by key; see `dock.results.KEYS`."""
        return {
            "name": self.name,
            "angle_degrees": self.angle,
            "improper": self.improper,
            "rms_eV": self.rms,
            "mean_eV": self.mean,
            "max_eV": self.largest,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Equivariance(Result):
    """How far rotated copies are from the rotated original; a sequence of `EquivarianceError`."""

    FILE = "equivariance.h5"

    copies: tuple[EquivarianceError, ...]

    def __len__(self) -> int:
        return len(self.copies)

    def __iter__(self) -> Iterator[EquivarianceError]:
        return iter(self.copies)

    def __getitem__(self, number: int) -> EquivarianceError:
        return self.copies[number]

    @property
    def largest(self) -> float:
        """Largest deviation of all copies, eV."""
        return max(error.largest for error in self.copies)

    def facts(self) -> dict[str, Any]:
        """Return the number of copies and the largest deviation."""
        return {"n_copies": len(self.copies), "largest_eV": self.largest}

    def arrays(self) -> dict[str, Any]:
        """Return the errors of the copies, a list for each key."""
        rows = [error.facts() for error in self.copies]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def rows(self) -> list[tuple[str, str]]:
        """Return the rotation and the errors of each copy in words."""
        return [
            (f"copy {name}", f"{angle}: rms {rms}, mean {mean}, max {largest}")
            for name, angle, rms, mean, largest in self._cells()
        ]

    def table(self) -> str:
        """Return a line for each copy, under a head."""
        return table(self._cells(), ["copy", "rotation", "rms", "mean", "max"])

    def _cells(self) -> list[list[str]]:
        return [
            [
                error.name,
                f"{error.angle:.1f}°{' and inversion' if error.improper else ''}",
                *(f"{value:.3e} eV" for value in (error.rms, error.mean, error.largest)),
            ]
            for error in self.copies
        ]


def random_rotations(count: int, *, seed: int = 137, improper: bool = False) -> list[Any]:
    """Return so many rotation matrices (3, 3), evenly distributed over all orientations.

    With `improper` every second one goes with an inversion.

    Raises
    ------
    UsageError
        For a count below 1.

    Examples
    --------
    >>> Q = random_rotations(1)[0]
    >>> bool(np.allclose(Q @ Q.T, np.eye(3))), round(float(np.linalg.det(Q)), 9)
    (True, 1.0)
    """
    if count < 1:
        raise UsageError(f"at least one rotation is needed, found {count}.")
    rng = np.random.default_rng(seed)
    rotations = []
    for number in range(count):
        quaternion = rng.normal(size=4)
        w, x, y, z = quaternion / np.linalg.norm(quaternion)
        Q = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        rotations.append(orthogonal_matrix(-Q if improper and number % 2 else Q))
    return rotations


def rotate_calculation(calc: Calculation, Q: NDArray[np.float64]) -> Calculation:
    """Return the calculation of the structure rotated about the origin, with all its matrices.

    Fermi level and electron count stay. See `dock.core.transform.rotate`.
    """

    def rotated(name: str) -> Callable[[], AOMatrix]:
        return lambda: calc.require(name).rotate(Q)

    return replace(
        calc,
        structure=calc.structure.rotate(Q),
        matrices={name: rotated(name) for name in calc.available},
        source=f"{calc.source}, rotated",
    )


def write_rotated(
    calc: Calculation,
    folder: str | Path,
    rotations: list[NDArray[np.float64]],
    *,
    overwrite: bool = False,
    progress: Report = None,
) -> list[Path]:
    """Write the original as ``0`` and rotated copies as ``1``, ``2``, … unified folders.

    Each has ``rotation.json`` with its matrix. Matrices are rotated too, so that the Hamiltonian
    of a copy is what a prediction for it must be.

    Raises
    ------
    OutputError
        When a folder has such files already.
    """
    options = WriteOptions(overwrite=overwrite)
    written = []
    for number, Q in enumerate(Progress.of(progress).each([np.eye(3), *rotations])):
        target = Path(folder) / str(number)
        write(calc if number == 0 else rotate_calculation(calc, Q), target, "deeph", options)
        content = {"Q": Q.tolist(), "original": "../0"}
        write_text(target / ROTATION, json_text(content) + "\n", overwrite=overwrite)
        written.append(target)
    return written


def measure(
    folder: str | Path,
    *,
    original: str | None = None,
    file: str | None = None,
    progress: Report = None,
) -> Equivariance:
    """Compare the Hamiltonian of each rotated copy with the rotated one of the original.

    Parameters
    ----------
    folder
        Holds unified folders of one structure in several orientations.
    original
        Name of the one that the others are compared with; default the first name.
    file
        Which Hamiltonian: default ``hamiltonian_pred.h5`` where all have it, else
        ``hamiltonian.h5``.

    Raises
    ------
    MissingDataError
        When there are not two of them, or a file is missing.
    LayoutError
        When a copy is no rotation of the original.

    Notes
    -----
    The rotation is that of ``rotation.json``, or else is found from the atoms' positions. A
    constant that differs between the two (Δμ S) is not removed.
    """
    root, names = find_structures(folder)
    first = names[0] if original is None else original
    if first not in names or len(names) < 2:
        raise MissingDataError(
            f"the original '{first}' and a rotated copy",
            root,
            f"Found: {', '.join(names[:10])}. Make copies with: dock equivariance generate.",
        )
    if not file:
        predicted = all((root / name / PREDICTION).is_file() for name in names)
        file = PREDICTION if predicted else FILES["hamiltonian"]
    base = _read(root / first, file)
    turned_base = _stored_rotation(root / first)
    errors = []
    for name in Progress.of(progress).each([name for name in names if name != first]):
        copy = _read(root / name, file)
        stored = _stored_rotation(root / name)
        if stored is None or turned_base is None:
            Q = find_rotation(base.structure, copy.structure)
        else:
            Q = stored @ turned_base.T
        errors.append(_compare(name, base, copy, Q))
    return Equivariance(tuple(errors))


def _compare(
    name: str, base: Calculation, copy: Calculation, Q: NDArray[np.float64]
) -> EquivarianceError:
    expected = base.require("hamiltonian").rotate(Q)
    actual = copy.require("hamiltonian")
    if copy.spin is not base.spin:
        raise LayoutError(
            f"{name}: the copy has spin '{copy.spin.value}', the original '{base.spin.value}'."
        )
    delta = np.abs((actual - expected).entries)
    proper = Q * np.sign(np.linalg.det(Q))
    cosine = np.clip((np.trace(proper) - 1) / 2, -1, 1)
    return EquivarianceError(
        name,
        float(np.degrees(np.arccos(cosine))),
        bool(np.linalg.det(Q) < 0),
        float(np.sqrt(np.mean(delta**2))),
        float(delta.mean()),
        float(delta.max()),
    )


def find_rotation(original: Structure, copy: Structure) -> NDArray[np.float64]:
    """Return the proper or improper Q that turns one structure into another, atom by atom.

    Atoms are compared about their centre, so that the copy may be shifted; where they lie on a
    line or a plane the cell decides what they leave open, if it turned too.

    Raises
    ------
    LayoutError
        When no rotation brings the atoms within 0.001 Å of each other.

    Examples
    --------
    >>> water = Structure(np.eye(3) * 9, [[0, 0, 0], [1, 0, 0], [-0.2, 0.9, 0]], [8, 1, 1])
    >>> turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> bool(np.allclose(find_rotation(water, water.rotate(turn)), turn))
    True
    """
    if not np.array_equal(original.numbers, copy.numbers):
        raise LayoutError("the copy has other atoms, or in another order, than the original.")
    atoms = original.positions - original.positions.mean(axis=0)
    turned = copy.positions - copy.positions.mean(axis=0)
    with_cell = np.concatenate([atoms, original.cell]), np.concatenate([turned, copy.cell])
    for before, after in (with_cell, (atoms, turned)):
        left, _, right = np.linalg.svd(after.T @ before)
        for sign in (1.0, -1.0):
            flip = np.diag([1.0, 1.0, sign * np.sign(np.linalg.det(left @ right))])
            Q: NDArray[np.float64] = left @ flip @ right
            if np.abs(turned - atoms @ Q.T).max() < _CLOSE:
                return Q
    raise LayoutError(
        "the copy is no rotation of the original: no orthogonal matrix brings the atoms within "
        f"{_CLOSE} Å. Check that the folders hold one structure."
    )


def _read(folder: Path, file: str) -> Calculation:
    path = folder / file
    if not path.is_file():
        raise MissingDataError(path.name, folder, "Each copy needs its own Hamiltonian.")
    return read(path)


def _stored_rotation(folder: Path) -> NDArray[np.float64] | None:
    path = folder / ROTATION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        Q = np.array(content["Q"], dtype=np.float64)
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise FormatError(
            path, f"no rotation can be read ({error})", expected='{"Q": 3 × 3 numbers}'
        ) from error
    return orthogonal_matrix(Q)
