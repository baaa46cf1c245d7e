"""What one DFT calculation left behind: structure, basis, matrices, Fermi level, provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, frozen
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.notebook import html_table, size_in_words
from dock.core.pairs import Pairs
from dock.core.position import breaks_relation
from dock.core.quantity import quantity_of
from dock.core.sending import Stamps, packed, require_sendable, require_unchanged, unpacked
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError

__all__ = [
    "UNCONVERGED",
    "UNFINISHED",
    "Calculation",
    "Companion",
    "MatrixSource",
    "Provenance",
    "RowSource",
]

UNFINISHED = "the run had not finished when its files were copied: do not train on it."
UNCONVERGED = "the self-consistency cycle did not converge: do not train on it."
"""What is said of runs whose matrices are no result; see `Calculation.unsound`."""

MatrixSource: TypeAlias = AOMatrix | Callable[[], AOMatrix]

_NEVER_ZERO = (*("overlap", "hamiltonian", "density_matrix", "energy_density_matrix", "kinetic"),)


@runtime_checkable
class RowSource(Protocol):
    """A matrix on disk of which some rows can be read alone.

    It can be sent to another process (pickled), which then reads the file by itself.
    """

    def __call__(self) -> AOMatrix:
        """Read the whole matrix."""

    def rows(self, first: int, stop: int) -> AOMatrix:
        """Read the blocks ⟨i, 0|O|j, R⟩ of the atoms first ≤ i < stop, and no others."""

    def pairs(self) -> Pairs:
        """Read which pairs there are, and no entries."""

    def fingerprint(self) -> str:
        """Return a hash of the file, read in parts: equal only if all numbers are equal."""


class Companion(Protocol):
    """What a run's folder has beside what is read; the format's own writer passes it on."""

    def names(self) -> list[str]:
        """Return the names of all of it."""

    def rows(self, calc: Calculation | None = None) -> list[dict[str, str]]:
        """Return name and meaning (``name``, ``what``) of all of it.

        With the calculation its H tells whose the results are that name theirs.
        """

    def fields(self) -> dict[str, tuple[str, NDArray[Any]]]:
        """Return unit and values of the numbers among it by name; raises where one is damaged."""

    @property
    def files(self) -> Mapping[str, tuple[str, ...]]:
        """The files of each matrix."""


@dataclass(frozen=True)
class Provenance:
    """Where data came from.

    Attributes
    ----------
    code, version
        The program that made the matrices.
    files
        Names of the files they were read from, without their folder.
    command
        The `dock` command or call that wrote the present files.
    extra
        What only that code's own writer understands, kept so that a round trip loses nothing
        (the OpenMX input, for instance).
    """

    code: str = "unknown"
    version: str = ""
    files: tuple[str, ...] = ()
    command: str = ""
    extra: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Calculation:
    """The object that every format is read into and every computation takes.

    It can be pickled (joblib, multiprocessing): what was read from files goes without its matrices,
    which the other process reads from there when it asks for them.

    Parameters
    ----------
    structure, basis, spin
        What all matrices refer to; the structure may be ASE's or pymatgen's.
    matrices
        Matrices by quantity, or functions that read them when they are first asked for: printing
        the Fermi level of a folder reads no Hamiltonian.
    fermi_level
        Fermi level, eV, absolute on the scale of the Hamiltonian; None when unknown.
    n_electrons
        Valence electrons per cell, both spins; None when unknown.
    provenance
        Where it came from.
    source
        How messages call it: the folder or file that was read.
    beside
        What the folder has beside that, for this structure with this order of atoms.
    moments
        (n_atoms, 3) spin moments of the atoms in μ_B as the code printed them, or None.

    Raises
    ------
    LayoutError
        When structure and basis name different species, or a matrix is not what it is called, or
        has other atoms, orbitals or spin.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/si")
    >>> calc.structure.formula, calc.n_electrons
    ('Si2', 8.0)
    """

    structure: Structure
    basis: Basis
    spin: Spin
    matrices: Mapping[str, MatrixSource]
    fermi_level: float | None = None
    n_electrons: float | None = None
    provenance: Provenance = field(default_factory=Provenance)
    source: str = "the calculation"
    beside: Companion | None = field(default=None, repr=False)
    moments: FloatArray | None = field(default=None, repr=False)
    _loaded: dict[str, AOMatrix] = field(default_factory=dict, init=False, repr=False)
    _stamps: Stamps = field(default_factory=dict, init=False, repr=False)  # of what was sent

    def __repr__(self) -> str:
        """Return one line: what, its matrices, Fermi level and electrons; none is read for it."""
        return (
            f"<Calculation {self.structure.formula} of {self._origin}: "
            f"{self.structure.n_atoms} atoms, {self.basis.n_orbitals} orbitals, spin "
            f"{self.spin.value}, {', '.join(self.available) or 'no matrices'}, "
            f"Fermi level {self._level}, electrons {self._electrons}>"
        )

    def _repr_html_(self) -> str:
        """Return what is there, and how big, as a table for a notebook; nothing is read for it."""
        structure, basis = self.structure, self.basis
        shells = ", ".join(f"{label} {basis.describe(label)}" for label in basis.species[:6])
        more = ", …" if len(basis.species) > 6 else ""
        rows = [
            (
                "structure",
                f"{structure.formula}, {structure.n_atoms} atoms, {structure.cell_words}",
            ),
            ("basis", f"{basis.n_orbitals} orbitals: {shells}{more}"),
            ("spin", self.spin.value),
            ("Fermi level", self._level),
            ("electrons", self._electrons),
            *((name.replace("_", " "), self._state_of(name)) for name in self.available),
            ("from", f"{self._origin}: {self._files_in_words()}"),
            *(("note", note) for note in dict.fromkeys([*self.notes, self.unsound]) if note),
        ]
        return html_table("Calculation", rows)

    @property
    def _level(self) -> str:
        return "unknown" if self.fermi_level is None else f"{self.fermi_level:.4f} eV"

    @property
    def _electrons(self) -> str:
        return "unknown" if self.n_electrons is None else f"{self.n_electrons:g}"

    @property
    def _origin(self) -> str:
        return f"{self.provenance.code} {self.provenance.version}".strip()

    def _state_of(self, name: str) -> str:
        """Say how big a matrix is that is in memory, or that it is not read yet."""
        matrix = self._loaded.get(name, self.matrices[name])
        return matrix.size_words if isinstance(matrix, AOMatrix) else "in the file, not read yet"

    def _files_in_words(self) -> str:
        """Return the files that were read and how big they are, as far as they are there."""
        place = Path(self.source)
        folder = place if place.is_dir() else place.parent
        words = []
        for name in self.provenance.files[:6]:
            there = (folder / name).is_file()
            size = f" ({size_in_words((folder / name).stat().st_size)})" if there else ""
            words.append(f"{name}{size}")
        words += ["…"] * (len(self.provenance.files) > 6)
        return ", ".join(words) or self.source

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to another process: matrices that were read stay where they are.

        `UsageError` for a matrix that is made by a function which cannot be sent.
        """
        state = {
            each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.init
        }
        given = {name: one for name, one in self.matrices.items() if isinstance(one, AOMatrix)}
        readers = {name: one for name, one in self.matrices.items() if name not in given}
        try:
            later, stamps = packed((readers, self.beside))
        except Exception:
            require_sendable(self.source, readers)
            raise
        stamps = stamps | self._stamps  # what came from elsewhere is held to what it was there
        return state | {
            "matrices": given, "beside": later, "order": self.available, "_stamps": stamps
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was sent; nothing is read for it."""
        readers, beside = unpacked(state["beside"])
        sources = state["matrices"] | readers
        matrices = {name: sources[name] for name in state.pop("order")}
        state = state | {"matrices": matrices, "beside": beside, "_loaded": {}}
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __post_init__(self) -> None:
        object.__setattr__(self, "structure", Structure.of(self.structure))
        if self.structure.n_atoms != self.basis.n_atoms:
            raise LayoutError(
                f"{self.source}: the structure has {self.structure.n_atoms} atoms, the basis "
                f"{self.basis.n_atoms}."
            )
        species = zip(self.structure.labels, self.basis.labels, strict=True)
        for atom, (mine, other) in enumerate(species):
            if mine != other:
                raise LayoutError(
                    f"{self.source}: atom {atom} is of species '{mine}' in the structure, of "
                    f"'{other}' in the basis. Make the basis with the labels of the structure, or "
                    "relabel the structure."
                )
        if self.moments is not None:
            shape = (self.structure.n_atoms, 3)
            object.__setattr__(self, "moments", frozen("moments", self.moments, np.float64, shape))
        named = {quantity_of(name).name: value for name, value in self.matrices.items()}
        object.__setattr__(self, "matrices", named)
        for name, value in named.items():
            if isinstance(value, AOMatrix):
                self._require_fitting(name, value)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the matrices that are there."""
        return tuple(self.matrices)

    def get(self, quantity: str) -> AOMatrix | None:
        """Return a matrix by name or letter (``H``), reading it if need be; None if absent.

        What is read from a file is held against what any such matrix obeys: a `FormatError` where
        it is zero throughout, which is a placeholder, or where the position matrix is none.
        """
        name = quantity_of(quantity).name
        if name not in self._loaded:
            source = self.matrices.get(name)
            if source is None:
                return None
            if not isinstance(source, AOMatrix):
                require_unchanged(self._stamps)
            matrix = source if isinstance(source, AOMatrix) else source()
            self._require_fitting(name, matrix)
            if not isinstance(source, AOMatrix):
                self._require_data(name, matrix)
            self._loaded[name] = matrix
        return self._loaded[name]

    def _require_data(self, name: str, matrix: AOMatrix) -> None:
        """Refuse what was read and cannot be such a matrix."""
        problem, words = "", name.replace("_", " ")
        if name in _NEVER_ZERO and matrix.entries.size and not matrix.entries.any():
            problem = f"the {words} is zero throughout: a placeholder for one that nobody had"
        elif name == "position" and "overlap" in self.matrices and matrix.pairs.is_closed:
            wrong = breaks_relation(matrix, self.require("overlap"))
            problem = f"the position matrix is wrong: {wrong}" if wrong else ""
        if problem:
            fix = "Leave it out: choose matrices with quantities=NAMES, or take its file away."
            raise FormatError(self.source, problem, fix=fix)

    def _require_fitting(self, name: str, matrix: AOMatrix) -> None:
        """Refuse a matrix of another operator, basis or spin."""
        problem = ""
        if matrix.quantity != name:
            problem = f"is the {matrix.quantity}"
        elif not matrix.basis.is_same(self.basis):
            problem = "has another basis than the calculation"
        elif matrix.facts.has_spin and matrix.spin is not self.spin:
            problem = f"has spin '{matrix.spin.value}', the calculation '{self.spin.value}'"
        if problem:
            raise LayoutError(f"{self.source}: the matrix given as {name} {problem}.")

    def require(self, quantity: str, fix: str = "") -> AOMatrix:
        """Return a matrix, or a `MissingDataError` that says what is missing and how to get it."""
        matrix = self.get(quantity)
        if matrix is None:
            have = ", ".join(self.available) or "none"
            name = quantity_of(quantity).name.replace("_", " ")
            raise MissingDataError(
                f"the {name}", self.source, f"{fix + ' ' if fix else ''}Matrices found: {have}."
            )
        return matrix

    def release(self) -> None:
        """Forget the matrices that were read from files; they are read again when asked for."""
        for name in list(self._loaded):
            if not isinstance(self.matrices[name], AOMatrix):
                del self._loaded[name]

    @property
    def only_gamma(self) -> bool:
        """Whether the code added up all lattice vectors: only k = 0 has a meaning then."""
        return self.provenance.extra.get("gamma_only") is True

    @property
    def k_mesh(self) -> tuple[int, ...]:
        """The mesh at whose k-points alone H is known, as PySCF has it; empty where at all k."""
        mesh = self.provenance.extra.get("k_mesh")
        return tuple(map(int, mesh)) if isinstance(mesh, list | tuple) else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader found worth knowing of the run, a sentence each."""
        notes = self.provenance.extra.get("notes", ())
        return tuple(map(str, notes)) if isinstance(notes, list | tuple) else ()

    @property
    def unsound(self) -> str:
        """Why the run's own log forbids to use it: not finished or not converged; else empty."""
        extra = self.provenance.extra
        if extra.get("finished") is False:
            return UNFINISHED
        said = any("did not converge" in note for note in self.notes)
        return UNCONVERGED if said or extra.get("converged") is False else ""

    @property
    def hamiltonian(self) -> AOMatrix | None:
        """Hamiltonian, eV."""
        return self.get("hamiltonian")

    @property
    def overlap(self) -> AOMatrix | None:
        """Overlap."""
        return self.get("overlap")

    @property
    def density_matrix(self) -> AOMatrix | None:
        """Density matrix; summed over both spins for ``Spin.NONE``."""
        return self.get("density_matrix")

    @property
    def position(self) -> AOMatrix | None:
        """Position matrix ⟨i|r|j⟩ about the global origin, Å."""
        return self.get("position")

    def replace(
        self,
        *,
        matrices: Mapping[str, MatrixSource] | None = None,
        fermi_level: float | None = None,
        n_electrons: float | None = None,
        provenance: Provenance | None = None,
    ) -> Calculation:
        """Return a calculation with some parts exchanged; `matrices` replaces all of them."""
        made = dataclasses.replace(
            self,
            matrices=self.matrices if matrices is None else matrices,
            fermi_level=self.fermi_level if fermi_level is None else fermi_level,
            n_electrons=self.n_electrons if n_electrons is None else n_electrons,
            provenance=self.provenance if provenance is None else provenance,
        )
        if matrices is None:  # what one of the two reads, the other need not read again
            object.__setattr__(made, "_loaded", self._loaded)
            object.__setattr__(made, "_stamps", self._stamps)
        return made

    def without(self, quantity: str, note: str) -> Calculation:
        """Return the calculation without a matrix; the note says why, and goes where it goes."""
        name = quantity_of(quantity).name
        kept = {other: source for other, source in self.matrices.items() if other != name}
        known = self.provenance.extra.get("notes")
        notes = [*known, note] if isinstance(known, list) else [note]
        extra = {**self.provenance.extra, "notes": list(dict.fromkeys(notes))}
        provenance = dataclasses.replace(self.provenance, extra=extra)
        return self.replace(matrices=kept, provenance=provenance)

    def permute_atoms(self, order: list[int]) -> Calculation:
        """Return the calculation with atom ``order[a]`` as its atom a, in every matrix.

        `LayoutError` where `order` does not have each atom once.
        """
        if sorted(order) != list(range(self.structure.n_atoms)):
            raise LayoutError(
                f"an order has each of the atoms 0 to {self.structure.n_atoms - 1} once, found "
                f"{list(order)[:10]}."
            )
        return dataclasses.replace(
            self,
            structure=self.structure.select(order),
            basis=self.basis.select(order),
            matrices={name: partial(_permuted, self, name, order) for name in self.available},
            beside=None,
            moments=None if self.moments is None else self.moments[order],
        )


def _permuted(calc: Calculation, name: str, order: list[int]) -> AOMatrix:
    """Return a matrix with its atoms in another order; by name, so that it can be sent."""
    return calc.require(name).permute_atoms(order)
