"""Signed permutations of orbitals: order of shells, order of m and phases in one mechanism."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from dock.core.arrays import read_only
from dock.errors import ConventionError

__all__ = ["OrbitalLabel", "Reorder", "reorder_orbitals"]


@dataclass(frozen=True, eq=False)
class Reorder:
    """A signed permutation of orbitals: ``target[k] = signs[k] * source[permutation[k]]``.

    Order of shells, order of m and phases are one mechanism. Orbitals, coefficient vectors and
    matrix elements all change by this same rule, as a signed permutation is orthogonal.

    Attributes
    ----------
    permutation
        Int64, shape (n,), read-only: the place in the source of each target orbital.
    signs
        Int8, shape (n,), read-only: +1 or −1.

    Raises
    ------
    ConventionError
        If `permutation` is not a permutation of 0 … n−1 or `signs` not n times ±1; from a method,
        if the data are of another number of orbitals.

    Examples
    --------
    From x, y, z to −y, z, −x:

    >>> change = Reorder(np.array([1, 2, 0]), np.array([-1, 1, -1], dtype=np.int8))
    >>> change.apply_vector(np.array([1.0, 2.0, 3.0])).tolist()
    [-2.0, 3.0, -1.0]
    """

    permutation: npt.NDArray[np.int64]
    signs: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        permutation, signs = np.array(self.permutation), np.array(self.signs)
        n = permutation.size
        if permutation.shape != (n,) or not np.array_equal(np.sort(permutation), np.arange(n)):
            raise ConventionError(
                f"The permutation {permutation.tolist()} is not valid; expected each of "
                f"0 to {n - 1} once, in one dimension."
            )
        if signs.shape != (n,) or not np.isin(signs, (-1, 1)).all():
            raise ConventionError(
                f"The signs {signs.tolist()} are not valid; expected {n} times +1 or -1."
            )
        object.__setattr__(self, "permutation", read_only(permutation.astype(np.int64)))
        object.__setattr__(self, "signs", read_only(signs.astype(np.int8)))

    def __len__(self) -> int:
        return self.permutation.size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reorder):
            return NotImplemented
        return np.array_equal(self.permutation, other.permutation) and np.array_equal(
            self.signs, other.signs
        )

    def __hash__(self) -> int:
        return hash((self.permutation.tobytes(), self.signs.tobytes()))

    @classmethod
    def identity(cls, n: int) -> Self:
        """Give the change that leaves n orbitals as they are."""
        return cls(np.arange(n), np.ones(n, dtype=np.int8))

    @classmethod
    def concatenate(cls, parts: Sequence[Reorder]) -> Self:
        """Put the changes of several atoms, in their order, one after the other into one."""
        if not parts:
            return cls.identity(0)
        sizes = np.array([len(part) for part in parts], dtype=np.int64)
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        return cls(
            np.concatenate([part.permutation for part in parts]) + starts,
            np.concatenate([part.signs for part in parts]),
        )

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return bool((self.permutation == np.arange(len(self))).all() and (self.signs == 1).all())

    @property
    def inverse(self) -> Reorder:
        """The change from target back to source."""
        back = np.argsort(self.permutation)
        return Reorder(back, self.signs[back])

    def then(self, other: Reorder) -> Reorder:
        """Compose: this change first, `other` after it."""
        other._check_length(len(self), "the other change")
        return Reorder(
            self.permutation[other.permutation], other.signs * self.signs[other.permutation]
        )

    def apply_vector(self, v: npt.NDArray[Any], axis: int = -1) -> npt.NDArray[Any]:
        """Bring one axis of an array, that of the orbitals, to target order; the dtype stays."""
        self._check_length(v.shape[axis], f"axis {axis} of the array")
        shape = [1] * v.ndim
        shape[axis] = -1
        return np.take(v, self.permutation, axis=axis) * self.signs.reshape(shape)

    def apply_block(
        self, block: npt.NDArray[Any], columns: Reorder | None = None
    ) -> npt.NDArray[Any]:
        """Bring matrix elements (..., n, n') from source to target order on both sides.

        Rows change as this one; columns as `columns`, or like the rows if it is not given.
        """
        rows = self.apply_vector(block, axis=-2)
        return (self if columns is None else columns).apply_vector(rows, axis=-1)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Give M, float64 (n, n), with target = M @ source and target block = M @ block @ M.T."""
        dense = np.zeros((len(self), len(self)))
        dense[np.arange(len(self)), self.permutation] = self.signs
        return dense

    def _check_length(self, found: int, what: str) -> None:
        """Refuse data of another number of orbitals."""
        if found != len(self):
            raise ConventionError(
                f"{what.capitalize()} has {found} orbitals; expected {len(self)}, as the change of "
                "order has. Check that the shells are those of this atom."
            )


class OrbitalLabel(NamedTuple):
    """One orbital of an atom: its shell, m, and sign against the dock function of that m."""

    shell: int
    m: int
    sign: int = 1


def reorder_orbitals(
    source: Sequence[tuple[int, int, int]], target: Sequence[tuple[int, int, int]] | None = None
) -> Reorder:
    """Give the change between two explicit lists of orbitals of one atom, `source` and `target`.

    Each has (shell, m, sign) of every orbital; the shells are any integers. Left out, the target is
    the dock order, by shell and then m. `ConventionError` where an orbital occurs twice, or the two
    lists do not hold the same orbitals.

    Examples
    --------
    >>> change = reorder_orbitals([(1, 0, 1), (0, 0, 1), (1, 1, -1), (1, -1, -1)])
    >>> change.permutation.tolist(), change.signs.tolist()
    ([1, 3, 0, 2], [1, -1, 1, -1])
    """
    if target is None:
        target = [(shell, m, 1) for shell, m, _ in sorted(source)]
    places = {(shell, m): k for k, (shell, m, _) in enumerate(source)}
    wanted = Counter((shell, m) for shell, m, _ in target)
    if Counter((shell, m) for shell, m, _ in source) != wanted or len(places) != len(source):
        raise ConventionError(
            f"The orbitals (shell, m) {[(s, m) for s, m, _ in source]} cannot be brought into the "
            f"order {[(s, m) for s, m, _ in target]}; expected the same ones, each once, in both."
        )
    permutation = [places[shell, m] for shell, m, _ in target]
    signs = [sign * source[k][2] for k, (_, _, sign) in zip(permutation, target, strict=True)]
    return Reorder(np.array(permutation, dtype=np.int64), np.array(signs, dtype=np.int8))
