"""The Fermi level, occupations, gap and band energy by counting electrons on a k-mesh."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dock.core.calculation import Calculation
from dock.io.files import require_absent, write_text
from dock.io.progress import Report
from dock.io.text import json_text
from dock.post.legend import add_legend
from dock.results import Result
from dock.states.counted_level import LEVEL_FILE
from dock.states.fermi_level import Filling, Method, find_level, occupy
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Solver
from dock.states.spectrum import compute_spectrum, electrons_of, load_spectrum, save_spectrum
from dock.states.spectrum_part import STATES, Part, is_in_parts
from dock.style import colours, ink

__all__ = [
    "EIGENVALUES",
    "FermiResult",
    "Method",
    "fermi_level",
    "find_level",
    "occupy",
]

_log = logging.getLogger("dock")

_TAIL = 1e-3  # occupation beyond the ends of what was computed that a note is worth
_SHOWN = 6.0  # eV on both sides of the Fermi level in the figure
EIGENVALUES = "eigval.h5"
"""Name of the file, beside ``fermi_energy.json``, in which other computations look too."""


@dataclass(frozen=True, eq=False, repr=False)
class FermiResult(Result, Filling):
    """What an electron count says about a spectrum; see `dock.states.fermi_level.Filling`.

    `stored` is the Fermi level that came with the data, eV; None without one.
    """

    FILE = LEVEL_FILE

    stored: float | None = None

    @property
    def fermi_level(self) -> float:
        """`level`, by the name that it has in all results."""
        return self.level

    def facts(self) -> dict[str, Any]:
        """Return level, gap, energies, mesh and symmetry, by key; see `dock.results.KEYS`."""
        spectrum = self.spectrum
        return {
            **self.gap.facts(),
            "fermi_level_eV": self.level,
            "fermi_source": self.source,
            "stored_fermi_level_eV": self.stored,
            "n_electrons": self.n_electrons,
            "counted_electrons": self.counted,
            "smearing": self.method_name,
            "band_energy_eV": self.band_energy,
            "entropy_energy_eV": self.entropy_energy,
            "spin_moment_muB": self.spin_moment,
            "formula": spectrum.structure.formula,
            "spin": spectrum.spin.value,
            **spectrum.mesh.facts(),
            "n_bands": int(spectrum.energies.shape[2]),
            "n_below": spectrum.n_below,
            "n_removed_states": spectrum.n_removed,
            "tail_occupation": self.tail,
            **({} if spectrum.certificates is None else spectrum.certificates.facts()),
            "fingerprint": spectrum.fingerprint,
        }

    def arrays(self) -> dict[str, Any]:
        """Return energies and occupations at the irreducible k-points, and the certificates."""
        mesh, energies = self.spectrum.mesh, self.spectrum.energies
        proof = self.spectrum.certificates
        return {
            "kpoints_frac": mesh.points,
            "k_weights": mesh.weights,
            "energies_eV": np.where(np.isfinite(energies), energies, np.nan),
            "occupations": self.occupations,
            **(proof.arrays() if self.spectrum.is_part and proof is not None else {}),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return level, mesh, symmetry, gap and energies in words."""
        spectrum = self.spectrum
        symmetry = spectrum.mesh.symmetry
        rows = [
            ("Fermi level", f"{self.level:.6f} eV ({self.gap.kind}; {self.method_name})"),
            ("electrons", f"{self.n_electrons:g}, counted {self.counted:.10f}"),
            ("k-mesh", spectrum.mesh.describe()),
        ]
        if symmetry is not None:
            text = f"{len(symmetry.operations)} operations"
            if symmetry.largest_error > 0:
                text += f", H deviates by up to {symmetry.largest_error:.1e} eV"
            rows.append(("symmetry", text))
        rows += replace(self.gap, stored=self.stored).rows("mesh", edges=False)
        rows += self._part_rows()
        if self.band_energy is not None:
            rows.append(("band energy", f"{self.band_energy:.8f} eV"))
        if abs(self.entropy_energy) > 5e-9:
            rows.append(("−TS", f"{self.entropy_energy:.8f} eV"))
        if self.spin_moment is not None:
            rows.append(("spin moment", f"{self.spin_moment:.6f} μ_B"))
        if spectrum.n_removed:
            rows.append(("S projected", f"up to {spectrum.n_removed} states left out at a k-point"))
        return rows

    def _part_rows(self) -> list[tuple[str, str]]:
        """Return what is to be known where not all states were computed."""
        spectrum = self.spectrum
        if not spectrum.is_part:
            return []
        first, stop = spectrum.n_below + 1, spectrum.n_below + spectrum.energies.shape[2]
        rows = [("states", f"numbers {first} to {stop} of {spectrum.size}")]
        if spectrum.certificates is not None:
            rows += spectrum.certificates.rows()
        rows.append(("their ends", f"full and empty within {self.tail:.1e}"))
        return rows

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files of a name: its JSON file, and that of the eigenvalues beside it.

        The eigenvalues of ``fermi_energy.json`` are in ``eigval.h5``, as DeepH has them; those of
        another name, such as ``a.json``, in ``a_eigval.h5``.
        """
        path = Path(path)
        beside = EIGENVALUES if path.name == cls.FILE else f"{path.stem}_{EIGENVALUES}"
        return [path, path.with_name(beside)]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write a JSON file and the eigenvalues; return both; see `files` and `Result.save`.

        The JSON file has the facts, and the level as ``fermi_energy_eV`` too, DeepH's name for
        it. An HDF5 file that holds these very eigenvalues already is left as it is.
        """
        path, cache = self.files(self.FILE if path is None else path)
        require_absent([path], overwrite=overwrite)
        save_spectrum(self.spectrum, cache, overwrite=overwrite)
        content = {"fermi_energy_eV": self.level, **self.json(arrays=False)}
        if self._hamiltonian:
            content["hamiltonian_hash"] = self._hamiltonian
        write_text(path, json_text(content) + "\n", overwrite=overwrite)
        return [path, cache]

    def draw(self, axes: Any) -> None:
        """Draw the filling of the states about the Fermi level."""
        spectrum = self.spectrum
        full = spectrum.mesh.weights[None, :, None] * spectrum.degeneracy
        x = spectrum.energies - self.level
        filling = self.occupations / full
        for channel, colour in zip(range(len(x)), colours(), strict=False):
            shown = np.abs(x[channel]) < _SHOWN
            name = ("up", "down")[channel] if len(x) == 2 else None
            dots: dict[str, Any] = {"ms": 3, "color": colour, "label": name}
            axes.plot(x[channel][shown], filling[channel][shown], ".", **dots)
        axes.axvline(0.0, color=ink(0.5), lw=0.8, ls=":")
        axes.set_xlabel("energy − Fermi level (eV)")
        axes.set_ylabel("filling")
        title = f"{spectrum.structure.formula}  {self.method_name}  {self.gap.kind}"
        axes.set_title(title, fontsize="medium")
        add_legend(axes)


def fermi_level(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    electrons: float | None = None,
    smearing: Method | None = None,
    states: int | None = None,
    whole: bool = False,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    cache: str | Path | Sequence[str | Path] | None = None,
) -> FermiResult:
    """Find the Fermi level of a calculation by counting electrons.

    Parameters
    ----------
    mesh
        A `KMesh`, three numbers of points (Γ-centred), or None for points 0.2/Å apart.
    electrons
        Valence electrons per cell; default those of the calculation.
    smearing
        A `Smearing`, or ``"tetrahedra"``. Default: Fermi–Dirac at 300 K.
    states
        Compute so many states about the level at each k-point, not all. Large systems, for which
        the solver finds a part of the states, have 40 by default; the count is exact all the same,
        and `FermiResult.tail` says how far their ends are from full and empty.
    whole
        Compute all states of large systems too.
    solver
        See `dock.states.stream.states`.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this.
    jobs, progress
        Threads; told of each finished eigenproblem.
    cache
        An ``eigval.h5``, or several; the eigenvalues of the first that carries the fingerprint of
        this H, S, mesh and threshold are used, the others are passed over.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        When the states cannot hold the electrons, or all would be filled.
    ConvergenceError
        When S(k) is not positive definite.

    Examples
    --------
    >>> import dock
    >>> result = fermi_level(dock.read("fixtures/openmx/si"), (4, 4, 4))
    >>> result.gap.kind, round(result.counted, 9)
    ('insulator', 8.0)
    """
    electrons_of(calc, electrons, 2.0 * calc.basis.n_orbitals)  # before an hour is spent
    points = make_mesh(calc, mesh)
    method = Smearing() if smearing is None else smearing
    spectrum = None
    if cache is not None and Job.of(solver).removal == "project":
        spectrum = load_spectrum(calc, points, cache, s_threshold=s_threshold)
    if spectrum is None:
        run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
        run["progress"] = progress
        problem = Problem.of(calc)
        in_parts = not whole and is_in_parts(problem, solver, points.n_points, jobs)
        if states is not None or in_parts:
            count = electrons_of(calc, electrons, problem.capacity)
            part, n_states = Part(calc, points, **run), STATES if states is None else states
            spectrum = part.near_level(count, method, n_states=n_states, guess=calc.fermi_level)
        else:
            spectrum = compute_spectrum(calc, points, **run)
    count = electrons_of(calc, electrons, spectrum.capacity)
    filling = occupy(spectrum, count, method)
    known = {field.name: getattr(filling, field.name) for field in fields(filling)}
    result = FermiResult(**known, stored=calc.fermi_level)
    if result.tail > _TAIL:
        _log.warning(
            "states at the ends of what was computed have occupations %.1e from 0 and 1: ask for "
            "more states=N, or a smaller width.",
            result.tail,
        )
    return result
