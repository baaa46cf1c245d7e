"""The whole way from a pw.x run and a basis to a `Calculation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe import PlaneWaveDensity
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError
from dock.grid.potential_integrals import integrate_potential
from dock.overlap.assemble import Integrals
from dock.planewave.facts import (
    RunFacts,
    read_facts,
    read_pseudos,
    require_local_density,
    require_supported,
)
from dock.planewave.local_potential import density_potential, run_density
from dock.planewave.projectors import nonlocal_entries
from dock.planewave.quality import BandQuality, compare_bands, with_spillage
from dock.planewave.upf import Pseudopotential
from dock.planewave.vsc import read_vsc
from dock.planewave.wavefunctions import spillage
from dock.units import QE

__all__ = ["VSC", "Projection", "Request", "project"]

VSC = "VSC"
"""Name under which pw2bgw.x's potential is looked for."""

CUTOFF_FACTOR = 1.1
"""Cut-off of the orbitals' waves over that of the run, as HPRO has it."""

_MOST_ORBITALS = 3000  # beyond this the bands are compared only when asked for


@dataclass(frozen=True)
class Request:
    """How to project.

    Attributes
    ----------
    potential
        ``density``; ``vsc`` for the file ``VSC`` of the run's folder, or its path; empty for the
        file where there is one, else the density.
    pseudo
        Folder of the pseudopotentials, where neither the ``.save`` folder nor the run's
        ``pseudo_dir`` has them.
    cutoff_rydberg
        Kinetic energy beyond which the orbitals have no waves in S, T and V_nl; 0 for none, None
        for `CUTOFF_FACTOR` times that of the run.
    quality
        ``bands``, ``wavefunctions`` (and the spillage), ``none``, or ``auto``: the bands unless
        there are thousands of orbitals.
    jobs
        Threads; default the CPUs that this process may use.

    Raises
    ------
    UsageError
        For a cut-off or a quality that is none.
    """

    potential: str = ""
    pseudo: Path | None = None
    cutoff_rydberg: float | None = None
    quality: str = "auto"
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.quality not in ("auto", "bands", "wavefunctions", "none"):
            raise UsageError(
                f"quality is auto, bands, wavefunctions or none, found '{self.quality}'."
            )
        if self.cutoff_rydberg is not None and not 0 <= self.cutoff_rydberg < np.inf:
            raise UsageError(f"the cut-off is an energy in Ry, found {self.cutoff_rydberg}.")


@dataclass(frozen=True, eq=False)
class Projection:
    """A Hamiltonian in atomic orbitals, and how well its bands are those of the run, where asked.

    The calculation has H and S on the same pairs: all that overlap or meet through a projector.
    """

    calculation: Calculation
    facts: RunFacts
    quality: BandQuality | None


def project(path: str | Path, basis: Basis, request: Request | None = None) -> Projection:
    """Build the Hamiltonian of a pw.x run, by its ``.save`` folder, in a basis of atomic orbitals.

    Raises
    ------
    MissingDataError
        When density, potential, a pseudopotential or a wave function is missing.
    FormatError
        When a file is damaged, belongs to another run, or a pseudopotential is not norm-conserving.
    UsageError
        For a run whose Hamiltonian has other parts.
    DependencyError
        Without libxc, where the density is used.
    """
    request = request or Request()
    facts = read_facts(path)
    require_supported(facts)
    pseudos = read_pseudos(facts, request.pseudo)
    field, origin = _potential(facts, pseudos, request)
    hamiltonian, overlap = _matrices(facts, basis, pseudos, field, request)
    quality = _quality(facts, hamiltonian, overlap, request)
    run = facts.run
    extra: dict[str, object] = {"potential": origin, "functional": facts.functional}
    if quality is not None:
        extra["basis_quality_eV"] = quality.as_dict()
    known: dict[str, Any] = {"plane_wave": extra}
    if run.converged is not None:
        known["converged"] = run.converged
    files = (Path(run.source).name, origin, *dict.fromkeys(facts.pseudo_files.values()))
    calculation = Calculation(
        run.structure,
        basis,
        run.spin,
        {"hamiltonian": hamiltonian, "overlap": overlap},
        run.fermi_level,
        run.n_electrons,
        Provenance("Quantum ESPRESSO", run.version, files, extra=known),
        str(facts.folder),
    )
    return Projection(calculation, facts, quality)


def _potential(
    facts: RunFacts, pseudos: Mapping[str, Pseudopotential], request: Request
) -> tuple[NDArray[np.float64], str]:
    """Return the potential on the grid, eV, and the name of the file that it is from."""
    path = _vsc_path(facts, request.potential)
    if path is not None:
        waves = read_vsc(path)
        _require_fitting(waves, facts, path)
        return waves.grid(facts.run.fft_grid) * QE.rydberg_ev, path.name
    require_local_density(facts)
    return density_potential(facts, run_density(facts), pseudos), "charge-density"


def _vsc_path(facts: RunFacts, choice: str) -> Path | None:
    """Return the potential's file, or None for the density."""
    if choice.lower() == "density":
        return None
    if choice and choice.lower() != "vsc":
        return Path(choice)
    places = (facts.folder / VSC, facts.folder.parent / VSC)
    path = next((place for place in places if place.is_file()), None)
    if choice and path is None:
        raise MissingDataError(
            VSC, facts.folder.parent, "Give its path: --potential FILE, or --potential density."
        )
    return path


def _require_fitting(waves: PlaneWaveDensity, facts: RunFacts, path: Path) -> None:
    """Refuse a potential of another run, or without its magnetic part."""
    run = facts.run
    fix = "Run pw2bgw.x on this very run, or give --potential density."
    expected = run.structure.reciprocal * QE.bohr_angstrom
    if not np.allclose(waves.reciprocal, expected, rtol=0, atol=1e-5):
        raise FormatError(
            path, "the potential is of another cell than the run", fix=fix,
            expected=expected.tolist(), found=waves.reciprocal.tolist(),
        )  # fmt: skip
    if np.any(2 * np.abs(waves.miller).max(axis=0) + 1 > np.array(run.fft_grid)):
        raise FormatError(path, "the potential has another cut-off than the run", fix=fix)
    magnetic = facts.has_magnetization
    components = 2 if run.spin is Spin.COLLINEAR else 1
    if len(waves.values) != components or (run.spin is Spin.NONCOLLINEAR and magnetic):
        kind = "magnetic" if magnetic else "not magnetic"
        raise FormatError(
            path,
            f"the potential has {len(waves.values)} spin components, and the run is {kind} "
            f"({run.spin.value})",
            fix="A VSC holds no non-collinear magnetic field: give --potential density."
            if run.spin is Spin.NONCOLLINEAR
            else fix,
        )


def _matrices(
    facts: RunFacts,
    basis: Basis,
    pseudos: Mapping[str, Pseudopotential],
    field: NDArray[np.float64],
    request: Request,
) -> tuple[AOMatrix, AOMatrix]:
    """Return H and S."""
    run = facts.run
    structure, spin = run.structure, run.spin
    q_last = _last_momentum(facts, request)
    integrals = Integrals.prepare(structure, basis, pairs="kb", projectors=_reach(pseudos))
    integrals = replace(integrals, q_last=q_last)
    pairs, jobs = integrals.pairs, request.jobs
    overlap = integrals.matrix("overlap", jobs=jobs or 1)
    static = nonlocal_entries(structure, basis, pairs, pseudos, spin, q_last=q_last)
    kinetic = integrals.matrix("kinetic", jobs=jobs or 1).entries
    local = integrate_potential(structure, basis, pairs, field, jobs=jobs)
    entries = _sum_spins(spin, static, np.asarray(kinetic), local)
    return AOMatrix("hamiltonian", structure, basis, pairs, spin, entries), overlap


def _sum_spins(
    spin: Spin,
    static: NDArray[np.float64] | NDArray[np.complex128],
    kinetic: NDArray[np.float64],
    local: NDArray[np.float64],
) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Return T + V_nl + V in the components of the spin treatment."""
    if spin is not Spin.NONCOLLINEAR:
        return np.asarray(static.real + kinetic + local)
    entries = np.array(static, dtype=np.complex128)
    entries[[0, 3]] += kinetic + local[0]
    if len(local) == 4:
        bx, by, bz = local[1:]
        entries[0] += bz
        entries[1] += bx - 1j * by
        entries[2] += bx + 1j * by
        entries[3] -= bz
    return entries


def _reach(pseudos: Mapping[str, Pseudopotential]) -> dict[str, float]:
    """Return the radius of each species' longest projector, Å."""
    return {
        label: max((float(pseudo.r[len(p.r_beta) - 1]) for p in pseudo.projectors), default=0.0)
        * QE.bohr_angstrom
        for label, pseudo in pseudos.items()
    }


def _last_momentum(facts: RunFacts, request: Request) -> float | None:
    """Return the momentum of the orbitals' cut-off, 1/Å; ħ²q²/2m is q² Ry in Bohr⁻²."""
    energy = request.cutoff_rydberg
    if energy is None:
        energy = CUTOFF_FACTOR * facts.ecutwfc_rydberg
    return float(np.sqrt(energy)) / QE.bohr_angstrom if energy else None


def _quality(
    facts: RunFacts, hamiltonian: AOMatrix, overlap: AOMatrix, request: Request
) -> BandQuality | None:
    size = hamiltonian.basis.n_orbitals
    if request.quality == "none" or (request.quality == "auto" and size > _MOST_ORBITALS):
        return None
    quality = compare_bands(hamiltonian, overlap, facts.run, jobs=request.jobs)
    if request.quality != "wavefunctions":
        return quality
    return with_spillage(quality, facts.run, spillage(facts.run, overlap))
