"""The atomic-orbital basis: shells per species and where each atom's orbitals stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import FloatArray, IntArray, atom_list, frozen, read_only
from dock.core.notebook import html_table
from dock.errors import LayoutError

__all__ = [
    "LARGEST_L",
    "SHELL_LETTERS",
    "Basis",
    "OrbitalTable",
    "Radial",
    "Shell",
    "shell_letter",
    "shell_numbers",
    "shell_starts",
]

SHELL_LETTERS = "spdfghik"
"""Letter of each l; beyond these `shell_letter` writes the number, as few know them."""

LARGEST_L = 12
"""The highest l of a shell."""


def shell_letter(l: int) -> str:
    """Return how a shell of angular momentum l is called.

    Examples
    --------
    >>> [shell_letter(l) for l in (0, 2, 7, 8)]
    ['s', 'd', 'k', '(l=8)']
    """
    return SHELL_LETTERS[l] if l < len(SHELL_LETTERS) else f"(l={l})"


def shell_numbers(ls: Sequence[int]) -> list[int]:
    """Return, for each shell of an atom, its number among those of the same l, from 1.

    Examples
    --------
    >>> shell_numbers([0, 0, 1, 0])
    [1, 2, 1, 3]
    """
    return [ls[: place + 1].count(l) for place, l in enumerate(ls)]


def shell_starts(ls: Sequence[int]) -> list[int]:
    """Return the place of each shell's first orbital in its atom.

    Examples
    --------
    >>> shell_starts([0, 1, 2])
    [0, 1, 4]
    """
    sizes = [2 * l + 1 for l in ls]
    return [sum(sizes[:place]) for place in range(len(sizes))]


@dataclass(frozen=True, eq=False)
class Radial:
    """A radial function R_l(r): the orbital is R_l(|r|) Y_lm(r̂), with no further factor r^l.

    Parameters
    ----------
    r
        (n,) radii in Å, increasing from 0 or just above it, else a `LayoutError`.
    values
        (n,) R_l(r) in Å^(−3/2).
    cutoff
        Radius in Å beyond which the function is zero; default the last r.
    """

    r: FloatArray
    values: FloatArray
    cutoff: float = 0.0

    def __post_init__(self) -> None:
        r = frozen("r", self.r, np.float64, (None,))
        values = frozen("values", self.values, np.float64, (len(r),))
        if len(r) < 2 or r[0] < 0 or not bool(np.all(np.diff(r) > 0)):
            raise LayoutError("a radial mesh needs at least two radii that increase from r ≥ 0.")
        object.__setattr__(self, "r", r)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "cutoff", float(self.cutoff or r[-1]))

    @property
    def norm(self) -> float:
        """∫ R² r² dr by the trapezoid rule; 1 for a normalised orbital."""
        return float(np.trapezoid((self.values * self.r) ** 2, self.r))


@dataclass(frozen=True)
class Shell:
    """The 2l + 1 orbitals of one radial function, in the order m = −l … +l.

    `label` is the source's name of the shell (``2p z1``), free text, not compared; `radial` is
    there where the source gives it.
    """

    l: int
    label: str = ""
    radial: Radial | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.l not in range(LARGEST_L + 1):
            raise LayoutError(f"a shell has l from 0 to {LARGEST_L}, found {self.l}.")
        object.__setattr__(self, "l", int(self.l))

    @property
    def n_orbitals(self) -> int:
        """Number of orbitals, 2l + 1."""
        return 2 * self.l + 1

    @property
    def letter(self) -> str:
        """Letter of l; see `shell_letter`."""
        return shell_letter(self.l)


class OrbitalTable(NamedTuple):
    """Quantum numbers of every orbital of the cell, one array each, in matrix order."""

    atom: IntArray
    shell: IntArray
    l: IntArray
    m: IntArray


@dataclass(frozen=True, eq=False)
class Basis:
    """The shells of each species, and the species of each atom.

    Parameters
    ----------
    shells
        Shells by species label, in the order in which the matrices have them; each atom's species
        needs some, else a `LayoutError`.
    labels
        Species label of each atom.

    Examples
    --------
    >>> basis = Basis.from_ls({"Mo": [0, 0, 1, 2], "S": [0, 1]}, ["Mo", "S", "S"])
    >>> basis.counts.tolist(), basis.n_orbitals
    ([10, 4, 4], 18)
    """

    shells: Mapping[str, tuple[Shell, ...]]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        shells = {label: tuple(group) for label, group in self.shells.items()}
        labels = tuple(self.labels)
        if not labels:
            raise LayoutError("a basis needs at least one atom, found none.")
        for label in dict.fromkeys(labels):
            if not shells.get(label):
                known = ", ".join(shells) or "none"
                raise LayoutError(
                    f"the basis has no shells for species '{label}'. It has: {known}."
                )
        object.__setattr__(self, "shells", shells)
        object.__setattr__(self, "labels", labels)

    def __repr__(self) -> str:
        """Return the shells of each species and the number of orbitals."""
        kinds = list(self.shells.items())
        names = [f"{label} {''.join(shell.letter for shell in ls)}" for label, ls in kinds[:6]]
        more = ["…"] * (len(kinds) > len(names))
        return f"<Basis {', '.join([*names, *more])}: {self.n_orbitals} orbitals>"

    def _repr_html_(self) -> str:
        """Return the shells of each species as a table for a notebook."""
        rows = [
            (label, f"{self.describe(label)}, {sum(2 * l + 1 for l in self.ls(label))} orbitals")
            for label in self.species
        ]
        atoms = ("atoms", f"{self.n_atoms}, {self.n_orbitals} orbitals")
        return html_table("Basis", [atoms, *rows])

    @classmethod
    def from_ls(cls, ls: Mapping[str, Sequence[int]], labels: Sequence[str]) -> Basis:
        """Make a basis from the angular momenta of each species' shells."""
        shells = {label: tuple(Shell(l) for l in group) for label, group in ls.items()}
        return cls(shells, tuple(labels))

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.labels)

    @cached_property
    def species(self) -> tuple[str, ...]:
        """The species that occur, in order of first appearance among the atoms."""
        return tuple(dict.fromkeys(self.labels))

    @cached_property
    def species_index(self) -> IntArray:
        """(n_atoms,) index of each atom's species in `species`."""
        position = {label: index for index, label in enumerate(self.species)}
        return read_only(np.array([position[label] for label in self.labels], dtype=np.int32))

    @cached_property
    def counts(self) -> IntArray:
        """(n_atoms,) number of orbitals of each atom, spin not counted."""
        sizes = [sum(shell.n_orbitals for shell in self.shells[label]) for label in self.species]
        return read_only(np.array(sizes, dtype=np.int64)[self.species_index])

    @cached_property
    def offsets(self) -> IntArray:
        """(n_atoms + 1,) index of each atom's first orbital."""
        return read_only(np.concatenate([[0], np.cumsum(self.counts)]))

    @property
    def n_orbitals(self) -> int:
        """Number of orbitals of the cell, spin not counted."""
        return int(self.offsets[-1])

    def ls(self, label: str) -> tuple[int, ...]:
        """Return the angular momenta of a species' shells in stored order."""
        return tuple(shell.l for shell in self.shells[label])

    @cached_property
    def table(self) -> OrbitalTable:
        """Atom, shell number in the atom, l and m of every orbital."""
        columns = []
        for label in self.species:
            rows = [
                (index, shell.l, m)
                for index, shell in enumerate(self.shells[label])
                for m in range(-shell.l, shell.l + 1)
            ]
            columns.append(np.array(rows, dtype=np.int64).T)
        joined = np.concatenate([columns[index] for index in self.species_index], axis=1)
        atom = read_only(np.repeat(np.arange(self.n_atoms), self.counts))
        shell, l, m = read_only(joined)
        return OrbitalTable(atom, shell, l, m)

    def pair_kinds(self, i: ArrayLike, j: ArrayLike) -> IntArray:
        """Return the number of each pair of species: that of atom i times n plus that of atom j.

        i and j are atoms (...); the numbers go from 0 to n² − 1 with n species. `species_of_kind`
        gives the two back.

        Examples
        --------
        >>> Basis.from_ls({"H": [0], "O": [0, 1]}, ["O", "H", "H"]).pair_kinds([0, 0, 1], [0, 1, 0])
        array([0, 1, 2])
        """
        index = self.species_index.astype(np.int64)
        kinds: NDArray[np.int64] = index[np.asarray(i)] * len(self.species) + index[np.asarray(j)]
        return kinds

    def species_of_kind(self, kind: int) -> tuple[str, str]:
        """Return the species of both atoms of a pair, from its number of `pair_kinds`."""
        first, second = divmod(kind, len(self.species))
        return self.species[first], self.species[second]

    def select(self, atoms: ArrayLike) -> Basis:
        """Return the basis of the given atom numbers, in the given order."""
        chosen = atom_list(atoms, self.n_atoms)
        return Basis(self.shells, tuple(self.labels[atom] for atom in chosen))

    def repeat(self, n_copies: int) -> Basis:
        """Return the basis of `n_copies` copies of the atoms, one copy after another."""
        return Basis(self.shells, self.labels * n_copies)

    def is_same(self, other: Basis) -> bool:
        """Say whether every atom has the same sequence of angular momenta in both."""
        if self.n_atoms != other.n_atoms:
            return False
        pairs = set(zip(self.labels, other.labels, strict=True))
        return all(self.ls(mine) == other.ls(theirs) for mine, theirs in pairs)

    def fingerprint(self) -> str:
        """Return a hash of the species and their angular momenta, for provenance."""
        content = {label: self.ls(label) for label in sorted(set(self.labels))}
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def describe(self, label: str) -> str:
        """Return a short name of a species' basis such as ``2s2p1d``."""
        ls = self.ls(label)
        return "".join(f"{ls.count(l)}{shell_letter(l)}" for l in sorted(set(ls)))
