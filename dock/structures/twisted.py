"""Twisted bilayers: two 2-D lattices on one supercell, with the strain that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import FloatArray
from dock.core.elements import atomic_number
from dock.core.structure import AnyStructure, Structure
from dock.errors import UsageError
from dock.structures.built import BuiltStructure

__all__ = [
    "TwistedBilayer",
    "commensurate_integers",
    "hexagonal_layer",
    "lattice_angle",
    "twisted_bilayer",
]

MAX_STRAIN = 0.1
"""Largest strain that is taken for meant."""

_FLAT = 1e-6  # Å: lattice vectors 1 and 2 must lie in the plane to this
_HEXAGONAL = 1e-3  # relative: lengths and cosines of hexagonal vectors
_SHEAR = 0.5  # degrees between the turns of a layer and of its vectors that are no shear


@dataclass(frozen=True, eq=False, repr=False)
class TwistedBilayer(BuiltStructure):
    """A bilayer and what was done to fit its layers together.

    Attributes
    ----------
    structure
        Bottom layer first; z up, the third lattice vector normal to the layers.
    angle
        Angle from the bottom to the top layer's lattice, degrees.
    strain_bottom, strain_top
        Principal strains of each layer, the larger magnitude first; 0.01 is one percent.
    """

    angle: float
    strain_bottom: tuple[float, float]
    strain_top: tuple[float, float]

    def facts(self) -> dict[str, Any]:
        """Return formula, number of atoms, angle and strains."""
        return {
            **super().facts(),
            "angle_degrees": self.angle,
            "strain_bottom": list(self.strain_bottom),
            "strain_top": list(self.strain_top),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return number of atoms, angle and strains in words."""
        atoms = f"{self.structure.n_atoms} atoms, twist {self.angle:.4f}°"
        strains = [
            (f"strain of the {name} layer", f"{100 * parts[0]:+.4f} %, {100 * parts[1]:+.4f} %")
            for name, parts in (("bottom", self.strain_bottom), ("top", self.strain_top))
        ]
        return [("structure", atoms), *strains]


def hexagonal_layer(kind: str, lattice_constant: float | None = None) -> Structure:
    """Return a monolayer by name: ``graphene``, ``BN``, or a 2H dichalcogenide such as ``MoS2``.

    These are of Mo or W with S, Se or Te. The lattice vectors are at 60° in the plane, and 20 Å
    along z; the lattice constant is in Å, by default the experimental one.

    Examples
    --------
    >>> hexagonal_layer("MoS2").formula
    'MoS2'
    """
    if kind not in _LAYERS:
        raise UsageError(
            f"no layer is called '{kind}'. Known: {', '.join(_LAYERS)}. Give a POSCAR for others."
        )
    elements, default, height = _LAYERS[kind]
    a = default if lattice_constant is None else float(lattice_constant)
    if not a > 0:
        raise UsageError(f"the lattice constant must be positive, found {lattice_constant} Å.")
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(0.75), 0], [0, 0, 20.0]])
    second = (cell[0] + cell[1]) / 3
    up = np.array([0, 0, height])
    others = [second + up, second - up] if height else [second]
    numbers = np.array([atomic_number(name) for name in elements])
    return Structure(cell, np.array([np.zeros(3), *others]), numbers)


_LAYERS: dict[str, tuple[tuple[str, ...], float, float]] = {
    "graphene": (("C", "C"), 2.46, 0.0),
    "BN": (("B", "N"), 2.504, 0.0),
    "MoS2": (("Mo", "S", "S"), 3.160, 1.56),
    "MoSe2": (("Mo", "Se", "Se"), 3.288, 1.66),
    "MoTe2": (("Mo", "Te", "Te"), 3.519, 1.80),
    "WS2": (("W", "S", "S"), 3.153, 1.57),
    "WSe2": (("W", "Se", "Se"), 3.282, 1.67),
    "WTe2": (("W", "Te", "Te"), 3.491, 1.81),
}


def commensurate_integers(
    m: int, n: int | None = None, *, angles: tuple[int, int] = (60, 60)
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the supercells of bottom and top layer in the commensurate family (m, n).

    For two equal hexagonal lattices with vectors at 60° the bottom layer's m a₁ + n a₂ and the top
    layer's n a₁ + m a₂ have one length, and the twist is
    cos θ = (n² + 4nm + m²) / 2(n² + nm + m²). By default n = m + 1, the family of the magic angle
    (m = 31 or 30: 1.05° and 1.08°). `angles` are those between the vectors in which each layer is
    given, 60° or 120°; `lattice_angle` says it.

    Examples
    --------
    >>> bottom, top = commensurate_integers(30)
    >>> 4 * round(np.linalg.det(bottom))
    11164
    """
    n = m + 1 if n is None else n
    if m < 0 or n < 0 or m == n:
        raise UsageError(
            f"(m, n) = ({m}, {n}): expected two different integers from 0 up; equal ones are no "
            "twist."
        )
    if not set(angles) <= {60, 120}:
        raise UsageError(f"hexagonal vectors are at 60° or 120°, found {angles}.")
    pairs = zip(([[m, n], [-n, m + n]], [[n, m], [-m, n + m]]), angles, strict=True)
    # at 120° the second vector at 60° is the sum of both
    bottom, top = (
        [[a + b, b] for a, b in matrix] if angle == 120 else matrix for matrix, angle in pairs
    )
    return bottom, top


def lattice_angle(layer: AnyStructure) -> int:
    """Return 120 for a hexagonal layer whose vectors are at 120°, else 60."""
    layer = Structure.of(layer)
    first, second = layer.cell[:2, :2]
    lengths = np.linalg.norm(layer.cell[:2, :2], axis=1)
    same_length = abs(lengths[0] - lengths[1]) < _HEXAGONAL * lengths[0]
    at_120 = abs(float(first @ second) / lengths.prod() + 0.5) < _HEXAGONAL
    return 120 if same_length and at_120 else 60


def twisted_bilayer(
    bottom: AnyStructure,
    top: AnyStructure,
    integers: tuple[ArrayLike, ArrayLike],
    *,
    distance: float,
    vacuum: float = 20.0,
    strain: Literal["top", "bottom", "both"] = "top",
    shear: bool = False,
) -> TwistedBilayer:
    """Stack two layers on a common supercell.

    Parameters
    ----------
    bottom, top
        Monolayers, their first two lattice vectors in the xy plane.
    integers
        For each layer the (2, 2) integer matrix whose rows are the supercell's vectors in its
        lattice, in the vectors that it is given with (`hexagonal_layer`: 60°).
    distance, vacuum
        Heights from the highest atom of the bottom to the lowest of the top layer, and above the
        bilayer, Å.
    strain
        The layer that is deformed to fit; ``both`` shares it.
    shear
        Whether a layer may be sheared: turned by another angle than the vectors of its supercell.

    Raises
    ------
    UsageError
        For lattices that are not in the plane, singular or left-handed integers, a strain above
        10 %, a shear that was not asked for, or integers of the commensurate family at 60° where
        a layer's vectors are at 120°.

    Examples
    --------
    >>> layer = hexagonal_layer("graphene")
    >>> made = twisted_bilayer(layer, layer, commensurate_integers(1), distance=3.35)
    >>> made.structure.n_atoms, round(made.angle, 3), made.strain_top
    (28, 21.787, (0.0, 0.0))
    """
    if not (distance > 0 and vacuum >= 0):
        raise UsageError(f"distance {distance} Å and vacuum {vacuum} Å must be positive.")
    layers = [_flat("bottom", Structure.of(bottom)), _flat("top", Structure.of(top))]
    matrices = [_integers(name, m) for name, m in zip(("bottom", "top"), integers, strict=True)]
    for layer, matrix in zip(layers, matrices, strict=True):
        _refuse_other_angle(layer, matrix)
    wanted = [m @ layer.cell[:2, :2] for m, layer in zip(matrices, layers, strict=True)]
    turn = _polar(np.linalg.solve(wanted[1], wanted[0]))[0]
    targets = {"top": wanted[0], "bottom": wanted[1] @ turn}
    targets["both"] = (targets["top"] + targets["bottom"]) / 2
    if strain not in targets:
        raise UsageError(f"strain: expected top, bottom or both, found {strain!r}.")
    plane = targets[strain]
    deformed = [np.linalg.solve(cell, plane) for cell in wanted]
    strains = [_strains(matrix) for matrix in deformed]
    if max(abs(value) for pair in strains for value in pair) > MAX_STRAIN:
        raise UsageError(
            f"these integers strain the layers by {100 * strains[0][0]:.1f} % and "
            f"{100 * strains[1][0]:.1f} %; at most {100 * MAX_STRAIN:.0f} % is allowed. Choose "
            "supercells of nearly the same size and shape."
        )
    angle = float(np.degrees(np.arctan2(turn[0, 1], turn[0, 0])))
    if not shear:
        _refuse_shear(wanted, angle)
    structure = _stack(layers, matrices, deformed, plane, (distance, vacuum))
    return TwistedBilayer(structure, angle, strains[0], strains[1])


def _refuse_other_angle(layer: Structure, matrix: NDArray[np.int64]) -> None:
    """Refuse integers of `commensurate_integers` at 60° for vectors at 120°: no hexagon."""
    (m, n), second = matrix.tolist()
    if n and second == [-n, m + n] and lattice_angle(layer) == 120:
        raise UsageError(
            f"the integers {m} {n} {-n} {m + n} are those of vectors at 60°, and the layer "
            f"{layer.formula} has them at 120°: count in its own vectors, or pass "
            "commensurate_integers(m, n, angles=(120, 120))."
        )


def _refuse_shear(cells: Sequence[FloatArray], twist: float) -> None:
    """Refuse a layer that is sheared: the vectors of its supercell turn by other angles than it."""
    bottom, top = (cell[:, 0] + 1j * cell[:, 1] for cell in cells)
    turns = np.degrees(np.angle(bottom / top))
    if np.abs(twist - turns).max() > _SHEAR:
        raise UsageError(
            f"these integers shear a layer: it is turned by {twist:.2f}°, and the vectors of the "
            f"supercells by {turns[0]:.2f}° and {turns[1]:.2f}°. Integers count in the vectors "
            "that the layers are given with: at 60°, a rectangle is 'n 0 -1 2'. If it is meant, "
            "pass shear=True."
        )


def _stack(
    layers: list[Structure],
    matrices: list[NDArray[np.int64]],
    deformed: list[FloatArray],
    plane: FloatArray,
    heights: tuple[float, float],
) -> Structure:
    """Repeat, deform and stack the layers, the lowest atom at half the vacuum."""
    distance, vacuum = heights
    positions, numbers = [], []
    labels: tuple[str, ...] = ()
    z = vacuum / 2
    for layer, matrix, change in zip(layers, matrices, deformed, strict=True):
        full = np.eye(3, dtype=np.int64)
        full[:2, :2] = matrix
        repeated = layer.supercell(full)
        points = np.array(repeated.positions)
        points[:, :2] = points[:, :2] @ change
        points[:, 2] += z - points[:, 2].min()
        z = float(points[:, 2].max()) + distance
        positions.append(points)
        numbers.append(repeated.numbers)
        labels += repeated.labels
    cell: FloatArray = np.zeros((3, 3))
    cell[:2, :2] = plane
    cell[2, 2] = z - distance + vacuum / 2
    cell, turned = _first_along_x(cell, np.concatenate(positions))
    return Structure(cell, turned, np.concatenate(numbers), labels)


def _first_along_x(cell: FloatArray, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Turn everything about z so that the first lattice vector points along x."""
    x, y = cell[0, :2] / np.linalg.norm(cell[0, :2])
    turn = np.array([[x, -y, 0.0], [y, x, 0.0], [0.0, 0.0, 1.0]])
    turned = cell @ turn
    turned[0, 1] = 0.0
    return turned, positions @ turn


def _flat(name: str, layer: Structure) -> Structure:
    """Return the layer with its plane in xy and its third vector along z."""
    cell = np.array(layer.cell)
    if np.abs(cell[:2, 2]).max() > _FLAT:
        raise UsageError(
            f"{name} layer: its first two lattice vectors must lie in the xy plane, found "
            f"{cell[:2].tolist()} Å. Turn the structure."
        )
    if np.linalg.det(cell[:2, :2]) < 0:
        raise UsageError(f"{name} layer: exchange its first two lattice vectors (left-handed).")
    cell[2] = [0.0, 0.0, abs(cell[2, 2])]
    return Structure(cell, layer.positions, layer.numbers, layer.labels)


def _integers(name: str, matrix: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != (2, 2) or not np.array_equal(values, np.rint(values)):
        raise UsageError(f"{name} layer: expected four integers, found {values.tolist()}.")
    if np.linalg.det(values) < 0.5:
        raise UsageError(
            f"{name} layer: the integers {values.astype(int).tolist()} span no right-handed cell."
        )
    return np.rint(values).astype(np.int64)


def _polar(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rotation nearest to a (2, 2) matrix and its singular values."""
    left, values, right = np.linalg.svd(matrix)
    return left @ right, values


def _strains(matrix: FloatArray) -> tuple[float, float]:
    """Return the principal strains of a deformation, rounded to 1e-9, the larger first."""
    parts = sorted((round(float(v) - 1, 9) + 0.0 for v in _polar(matrix)[1]), key=abs)
    return parts[1], parts[0]
