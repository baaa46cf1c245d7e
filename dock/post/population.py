"""Mulliken and Löwdin populations: electrons and spin moments of orbitals, shells and atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.progress import Report
from dock.post.density_grid import density_source
from dock.post.density_matrices import density_matrix
from dock.post.fermi import FermiResult, Method, fermi_level
from dock.results import Result, table
from dock.states.job import Job
from dock.states.kmesh import KMesh, Reduction, make_mesh
from dock.states.mulliken import (
    Scheme,
    charge_and_moment,
    orbital_populations,
    overlap_root,
    root_of_overlap,
)
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import states
from dock.style import colours, ink

__all__ = ["REDUCTION", "Populations", "Scheme", "mulliken", "populations", "root_of_overlap"]

REDUCTION: dict[str, Reduction] = {"mulliken": "point-group", "lowdin": "none"}
"""How far a mesh may be reduced for each scheme: Löwdin sums are not symmetrised afterwards."""

_MOST_ROWS = 40
_NO_MOMENT = 1e-6  # μ_B: below it a figure has no bars of moments
_MOST_NAMES = 40  # of atoms below the bars of a figure
_UPRIGHT = 10  # names more than these stand on end


@dataclass(frozen=True, eq=False, repr=False)
class Populations(Result):
    """Electrons and spin of every orbital.

    Attributes
    ----------
    structure, basis, spin
        What was analysed.
    scheme
        ``mulliken`` or ``lowdin``.
    orbitals : (n_orbitals, 4)
        Electrons and spin moment (x, y, z; μ_B) of each orbital; collinear spin points along z.
    """

    FILE = "populations.h5"
    BRIEF = True
    STACKED = True
    CONVENTIONS = (("columns", "electrons, m_x, m_y, m_z (Bohr magnetons)"),)

    structure: Structure
    basis: Basis
    spin: Spin
    scheme: Scheme
    orbitals: NDArray[np.float64]

    @property
    def electrons(self) -> NDArray[np.float64]:
        """(n_atoms,) electrons of each atom."""
        return self._of_atoms[:, 0]

    @property
    def moments(self) -> NDArray[np.float64]:
        """(n_atoms, 3) spin moment of each atom, μ_B."""
        moments: NDArray[np.float64] = self._of_atoms[:, 1:]
        return moments

    @cached_property
    def shells(self) -> list[tuple[int, int, int, NDArray[np.float64]]]:
        """Atom, shell, l and (electrons, m_x, m_y, m_z) of every shell."""
        table = self.basis.table
        key = table.atom * (1 + int(table.shell.max())) + table.shell
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        sums = np.add.reduceat(self.orbitals, begins, axis=0)
        return [
            (int(table.atom[b]), int(table.shell[b]), int(table.l[b]), row)
            for b, row in zip(begins, sums, strict=True)
        ]

    @cached_property
    def _of_atoms(self) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.add.reduceat(self.orbitals, self.basis.offsets[:-1], axis=0)
        return sums

    @property
    def total(self) -> NDArray[np.float64]:
        """(4,) electrons and spin moment of the cell."""
        total: NDArray[np.float64] = self.orbitals.sum(axis=0)
        return total

    def facts(self) -> dict[str, Any]:
        """Return the scheme and the sums over the cell, by key; see `dock.results.KEYS`."""
        return {
            "scheme": self.scheme,
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "n_electrons": float(self.total[0]),
            "moment_muB": self.total[1:].tolist(),
        }

    def arrays(self) -> dict[str, Any]:
        """Return electrons and moment of each atom and each shell; both are counted from 1."""
        rows = zip(self.basis.labels, self._of_atoms, strict=True)
        atoms = [
            {"atom": number, "species": label, **_sums(values)}
            for number, (label, values) in enumerate(rows, 1)
        ]
        shells = [
            {"atom": atom + 1, "shell": shell + 1, "l": l, **_sums(values)}
            for atom, shell, l, values in self.shells
        ]
        return {"atoms": atoms, "shells": shells}

    def datasets(self) -> dict[str, Any]:
        """Return ``atoms`` and ``orbitals``, (n, 4) each, and the orbitals' quantum numbers."""
        numbers = self.basis.table._asdict().items()
        return {
            "atoms": self._of_atoms,
            "orbitals": self.orbitals,
            **{f"orbital_{name}": values for name, values in numbers},
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return the scheme, and electrons and moment of the cell and of each atom in words."""
        rows = [("scheme", self.scheme), ("sum", self._words(self.total))]
        for number, label in enumerate(self.basis.labels[:_MOST_ROWS]):
            rows.append((f"{label} {number + 1}", self._words(self._of_atoms[number])))
        return rows + [(name, text) for name, text, *_ in self._rest()]

    def table(self) -> str:
        """Return one line an atom, and their sum."""
        rows = []
        for number, label in enumerate(self.basis.labels[:_MOST_ROWS]):
            rows.append([str(number + 1), label, *self._numbers(self._of_atoms[number])])
        rows += self._rest()
        rows.append(["sum", "", *self._numbers(self.total)])
        return table(rows, ["atom", "species", f"electrons ({self.scheme})", "m_x m_y m_z (μ_B)"])

    def _rest(self) -> list[list[str]]:
        """Return the line of a table that stands for the atoms that it leaves out."""
        left_out = len(self.basis.labels) - _MOST_ROWS
        return [["…", f"{left_out} more in the files", "", ""]] if left_out > 0 else []

    @staticmethod
    def _numbers(values: NDArray[np.float64]) -> tuple[str, str]:
        return f"{values[0]:.6f}", " ".join(f"{value:9.6f}" for value in values[1:])

    def _words(self, values: NDArray[np.float64]) -> str:
        electrons, moment = self._numbers(values)
        if self.spin is Spin.NONE:
            return f"{electrons} electrons"
        return f"{electrons} electrons, ({', '.join(moment.split())}) μ_B"

    @property
    def n_panels(self) -> int:
        """One for electrons, and one below it for spin moments where there are any."""
        return 1 + bool(np.linalg.norm(self.moments, axis=1).max(initial=0.0) > _NO_MOMENT)

    def draw(self, axes: Any, *_: Any, **__: Any) -> None:
        """Draw the electrons of each atom as bars, and spin moments below them.

        Moments of collinear spin have a sign; of others the length is drawn.
        """
        panels = self.panels(axes)
        x = np.arange(1, len(self.electrons) + 1)
        panels[0].bar(x, self.electrons, 0.7, color=colours()[0])
        panels[0].set_ylabel("electrons")
        if len(panels) == 2:
            signed = self.spin is Spin.COLLINEAR
            moments = self.moments[:, 2] if signed else np.linalg.norm(self.moments, axis=1)
            panels[1].bar(x, moments, 0.7, color=colours()[1])
            panels[1].axhline(0.0, color=ink(0.75), lw=0.8)
            panels[1].set_ylabel("spin moment (μ_B)" if signed else "|spin moment| (μ_B)")
        every = -(-len(x) // _MOST_NAMES)
        names = [f"{label} {number}" for label, number in zip(self.basis.labels, x, strict=True)]
        turned = 90 if len(x) > _UPRIGHT else 0
        for panel in panels:
            panel.set_xticks(x[::every], names[::every], rotation=turned)
        panels[-1].set_xlim(0.4, len(x) + 0.6)
        panels[-1].set_xlabel("atom" if every == 1 else f"atom (every {every} named)")
        panels[0].set_title(f"{self.structure.formula}  {self.scheme}", fontsize="medium")


def _sums(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return electrons and moment (4,) by key."""
    return {"electrons": float(values[0]), "moment_muB": values[1:].tolist()}


def populations(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    scheme: Scheme = "mulliken",
    density: AOMatrix | None = None,
    fermi: FermiResult | None = None,
    window: tuple[float, float] | None = None,
    electrons: float | None = None,
    smearing: Method | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Populations:
    """Compute populations.

    Parameters
    ----------
    calc
        A calculation with overlap, and Hamiltonian or density matrix.
    mesh, electrons, smearing, solver, s_threshold, jobs, progress
        As in `fermi_level`. Löwdin populations use the whole mesh.
    scheme
        ``mulliken``: q = Σ_R Re (ρ(R) ∘ S(R)*). ``lowdin``: the diagonal of S^½ ρ S^½.
    density
        A density matrix to analyse (Mulliken only: a truncated ρ(R) does not give S^½ ρ S^½);
        default: computed from H and S.
    fermi
        Occupations found before; the mesh is then theirs. For Löwdin it must not be reduced by
        a point group.
    window
        Of all states in a window instead, filled or not (Mulliken only): (lowest, highest) energy,
        eV, from the Fermi level; see `dock.post.density_grid.density_source`.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        For an unknown scheme, or a density matrix with the Löwdin scheme.

    Examples
    --------
    >>> import dock
    >>> water = populations(dock.read("fixtures/openmx/h2o"), (1, 1, 1))
    >>> water.electrons.round(2).tolist()
    [6.53, 0.74, 0.74]
    """
    if scheme not in ("mulliken", "lowdin"):
        raise UsageError(f"a population scheme is 'mulliken' or 'lowdin', found '{scheme}'.")
    run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
    filling: dict[str, Any] = {"electrons": electrons, "smearing": smearing}
    if window is not None:
        if scheme != "mulliken" or density is not None:
            raise UsageError("of a window Mulliken populations are computed, from H and S.")
        asked: dict[str, Any] = {"window": window, "recompute": True, "electrons": electrons}
        density = density_source(calc, mesh, fermi=fermi, progress=progress, **asked, **run)
    if scheme == "mulliken":
        if density is None:
            result = density_matrix(calc, mesh, fermi=fermi, progress=progress, **filling, **run)
            density = result.density
        return mulliken(density, calc.require("overlap", "Populations need it."))
    if density is not None:
        raise UsageError("Löwdin populations are computed from H and S, not from a given ρ(R).")
    if fermi is None:
        points = make_mesh(calc, mesh, reduction=REDUCTION[scheme])
        fermi = fermi_level(calc, points, whole=True, **filling, **run)
    if fermi.spectrum.mesh.n_points != fermi.spectrum.mesh.n_full:
        raise UsageError("Löwdin populations need the whole mesh: use reduction='none'.")
    return _lowdin(calc, fermi, progress=progress, **run)


def mulliken(density: AOMatrix, overlap: AOMatrix) -> Populations:
    """Return the Mulliken populations of a density matrix."""
    orbitals = orbital_populations(density, overlap)
    return Populations(density.structure, density.basis, density.spin, "mulliken", orbitals)


def _lowdin(
    calc: Calculation,
    fermi: FermiResult,
    *,
    solver: str | Solver | Job,
    s_threshold: float | None,
    jobs: int | None,
    progress: Report,
) -> Populations:
    problem = Problem.of(calc)
    spin, basis, mesh = calc.spin, calc.basis, fermi.spectrum.mesh
    n = basis.n_orbitals
    builder = KBuilder(problem.overlap)
    sums = np.zeros((spin.n_components, n), dtype=np.complex128)
    want = Want(vectors=True, s_threshold=s_threshold)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
    for at in states(problem, mesh.points, want, **run):
        if at.states.vectors is None:
            continue
        root = overlap_root(builder, at.k_frac)
        weights = fermi.occupations[at.channel, at.number]
        vectors = at.states.vectors[:, : len(weights)]
        if spin is not Spin.NONCOLLINEAR:
            sums[at.channel] += np.abs(root @ vectors) ** 2 @ weights
            continue
        up, down = root @ vectors[:n], root @ vectors[n:]
        for row, (a, b) in enumerate(((up, up), (up, down), (down, up), (down, down))):
            sums[row] += (a * b.conj()) @ weights
    return Populations(calc.structure, basis, spin, "lowdin", charge_and_moment(sums, spin))
