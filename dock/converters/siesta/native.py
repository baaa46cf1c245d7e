"""A calculation in SIESTA's own terms: label, species, units, spin components, supercell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import WriteOptions
from dock.converters.origin import number_of
from dock.converters.siesta.matrix_file import LABEL_BYTES, SYNTHETIC, KGrid, SpeciesTable
from dock.converters.siesta.sparse_rows import Component, NewRows
from dock.converters.siesta.spin import terms_of
from dock.core.basis import Basis, shell_numbers
from dock.core.calculation import Calculation
from dock.core.elements import SYMBOLS, atomic_number, ghost_element
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, LossError, UsageError
from dock.units import SIESTA4, SIESTA5, Constants

__all__ = ["NativeCalculation"]

_NOISE = 1e-12  # relative: parts below this are rounding
_SHELL = re.compile(r"(\d+)(P?)([spdfghi]) z(\d+)")
ROOM_TEMPERATURE_RY = 0.0019


@dataclass(frozen=True, eq=False)
class NativeCalculation:
    """A calculation, its atoms in the order of the SIESTA run that it came from, if any."""

    calc: Calculation
    options: WriteOptions

    @cached_property
    def own(self) -> Mapping[str, Any]:
        """What the reader kept of a SIESTA run; empty for data of other codes."""
        return self.calc.provenance.extra if self.calc.provenance.code == "SIESTA" else {}

    @cached_property
    def label(self) -> str:
        """SystemLabel."""
        name = str(self.options.settings.get("name", self.own.get("system_label", "dock")))
        if not re.fullmatch(r"[^\s/]{1,200}", name):
            raise UsageError(f"a system label has no blanks and no slashes, found '{name}'.")
        return name

    @cached_property
    def version(self) -> int:
        """Version of the HSX file."""
        return int(self.options.choice("version", ("0", "1", "2"), "2"))

    @cached_property
    def constants(self) -> Constants:
        """The units of the SIESTA that made the data, or of the one that reads the file."""
        rydberg = self.own.get("rydberg_ev")
        if isinstance(rydberg, float):
            return min((SIESTA4, SIESTA5), key=lambda units: abs(units.rydberg_ev - rydberg))
        return SIESTA4 if self.version == 0 else SIESTA5

    @cached_property
    def nsc(self) -> tuple[int, int, int]:
        """The run's auxiliary supercell where it holds all pairs, or the smallest that does."""
        least = 2 * np.abs(self.pairs.R).max(axis=0, initial=0) + 1
        known = self.own.get("nsc")
        if isinstance(known, list) and len(known) == 3 and all(size % 2 == 1 for size in known):
            least = np.maximum(least, known)
        return int(least[0]), int(least[1]), int(least[2])

    @cached_property
    def pairs(self) -> Pairs:
        """The union of the pairs of all matrices to be written."""
        pairs: Pairs | None = None
        for name in self.options.quantities or ():
            other = self.calc.require(name).pairs
            pairs = other if pairs is None or pairs.is_same(other) else pairs.union(other)
        if pairs is None:
            atoms = np.arange(self.calc.structure.n_atoms)
            return Pairs(np.zeros((len(atoms), 3), dtype=np.int32), atoms, atoms, len(atoms))
        pairs.require_closed()
        if len(pairs.onsite) != pairs.n_atoms:
            raise LayoutError(f"{self.calc.source}: an atom has no on-site block.")
        return pairs

    @cached_property
    def rows(self) -> NewRows:
        """The rows of all files."""
        entries = [self.entries(name) for name in self.options.quantities or ()]
        return NewRows.of(self.calc.basis, self.pairs, self.nsc, entries)

    def entries(self, quantity: str) -> NDArray[Any]:
        """Return a matrix on the common pairs, eV; refuse what SIESTA cannot hold."""
        matrix = self.calc.require(quantity).on_pairs(self.pairs)
        entries = matrix.entries
        if self.calc.spin is Spin.NONCOLLINEAR or not matrix.is_complex:
            return entries
        largest = float(np.abs(entries.imag).max(initial=0.0))
        if largest > _rounding(entries):
            raise LossError(
                f"{self.calc.source}: the {quantity} has imaginary parts up to {largest:.1e}, for "
                f"which SIESTA has no place with {self.calc.spin.value} spin."
            )
        return entries.real

    @cached_property
    def n_spin(self) -> int:
        """Spin components on file; 4 where these hold a non-collinear Hamiltonian, else 8."""
        wanted = self.options.settings.get("components")
        if self.calc.spin is not Spin.NONCOLLINEAR:
            if wanted is not None:
                raise UsageError("the setting components is for non-collinear spin.")
            return self.calc.spin.n_components
        if wanted is not None:
            return int(self.options.choice("components", ("4", "8"), wanted))
        if self.own.get("n_spin") in (4, 8):
            return int(self.own["n_spin"])
        names = [name for name in self.options.quantities or () if name != "overlap"]
        return 4 if all(_fits_four(self.entries(name)) for name in names) else 8

    def components(self, quantity: str) -> list[Component]:
        """Return the components of a matrix as SIESTA stores them, Ry where they are energies.

        Raises
        ------
        LossError
            When 4 components cannot hold a spin–orbit matrix.
        """
        matrix = self.calc.require(quantity)
        entries = self.entries(quantity)
        unit = 1.0 / self.constants.rydberg_ev if matrix.facts.unit == "eV" else 1.0
        count = self.n_spin if matrix.facts.has_spin else 1
        if count == 4 and not _fits_four(entries):
            raise LossError(
                f"{self.calc.source}: the {quantity} has spin-orbit parts, which 4 components "
                "cannot hold. Leave out settings={'components': '4'}."
            )
        return [
            Component(getattr(entries[first.component], first.part), first.sign * unit)
            for first, *_ in terms_of(quantity, count)
        ]

    @cached_property
    def species(self) -> tuple[SpeciesTable, ...]:
        """The species in the order of the SIESTA run, or of first appearance."""
        known, basis = self._known_species(), self.calc.basis
        labels = list(dict.fromkeys([*known, *basis.species]))
        for label in labels:
            if len(label.encode()) > LABEL_BYTES:
                raise LossError(
                    f"{self.calc.source}: the species label '{label}' is longer than the "
                    f"{LABEL_BYTES} bytes of SIESTA's files."
                )
        return tuple(known.get(label) or _table_of(basis, label) for label in labels)

    def _known_species(self) -> dict[str, SpeciesTable]:
        """Return the species that the reader kept, where they still describe the basis."""
        known: dict[str, SpeciesTable] = {}
        basis = self.calc.basis
        for item in self.own.get("species") or ():
            label = str(item["label"])
            shells = tuple((int(n), int(l), int(z), bool(p)) for n, l, z, p in item["shells"])
            ls = tuple(l for _, l, _, _ in shells)
            if label in basis.species and ls != basis.ls(label):
                return {}
            known[label] = SpeciesTable(label, item.get("valence"), shells)
        return known if set(basis.species) <= set(known) else {}

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Atomic number of each species as SIESTA has it (negative: a ghost)."""
        kept = {str(item["label"]): int(item["number"]) for item in self.own.get("species") or ()}
        numbers = []
        for kind in self.species:
            number = kept.get(kind.label)
            if number is None:
                number = self.calc.structure.number_of[kind.label]
            ghost = ghost_element(kind.label) if number == 0 else None
            if ghost is not None:
                number = -atomic_number(ghost)
            if number == 0 or len(SYMBOLS) <= abs(number) <= SYNTHETIC:
                raise LossError(
                    f"{self.calc.source}: the species '{kind.label}' is no element; SIESTA needs "
                    "an atomic number, negative for an atom without a nucleus. Rename it so that "
                    "it says whose orbitals it has, such as H_ghost."
                )
            numbers.append(number)
        return tuple(numbers)

    @cached_property
    def atom_species(self) -> NDArray[np.int32]:
        """(n_atoms,) species of each atom, from 1."""
        place = {kind.label: index for index, kind in enumerate(self.species, 1)}
        return np.array([place[label] for label in self.calc.basis.labels], dtype=np.int32)

    @property
    def temperature_ry(self) -> float:
        """Electronic temperature of the run, or 300 K."""
        return number_of(self.own, "temperature_ry", ROOM_TEMPERATURE_RY)

    @property
    def k_grid(self) -> KGrid:
        """The run's k-point grid, or the Γ point."""
        rows, shift = self.own.get("k_grid"), self.own.get("k_shift")
        if isinstance(rows, list) and isinstance(shift, list):
            return KGrid(tuple(map(tuple, rows)), tuple(shift))
        return KGrid(((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.0, 0.0, 0.0))


def _table_of(basis: Basis, label: str) -> SpeciesTable:
    """Return a species of another code; n and zeta are counted where the labels do not say them."""
    shells = basis.shells[label]
    ls = basis.ls(label)
    named = [match for shell in shells if (match := _SHELL.fullmatch(shell.label))]
    if [match[3] for match in named] == [shell.letter for shell in shells]:
        given = [
            (int(match[1]), l, int(match[4]), match[2] == "P")
            for l, match in zip(ls, named, strict=True)
        ]
        return SpeciesTable(label, None, tuple(given))
    counted = tuple((l + 1, l, zeta, False) for l, zeta in zip(ls, shell_numbers(ls), strict=True))
    return SpeciesTable(label, None, counted)


def _rounding(entries: NDArray[Any]) -> float:
    """Return the size below which a part of some entries is rounding."""
    return _NOISE * max(1.0, float(np.abs(entries).max(initial=0.0)))


def _fits_four(entries: NDArray[Any]) -> bool:
    """Say whether 4 components hold a matrix: uu and dd are real, du is the conjugate of ud."""
    uu, ud, du, dd = entries
    limit = _rounding(entries)
    return all(np.abs(x).max(initial=0.0) <= limit for x in (uu.imag, dd.imag, ud - du.conj()))
