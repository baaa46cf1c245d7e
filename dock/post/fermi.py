"""The Fermi level, occupations, gap and band energy by counting electrons on a k-mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dock.core.calculation import Calculation
from dock.io.progress import Report
from dock.states.fermi_level import Filling, Method, find_level, occupy
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import Smearing
from dock.states.spectrum import compute_spectrum, electrons_of

__all__ = ["FermiResult", "Method", "fermi_level", "find_level", "occupy"]


@dataclass(frozen=True, eq=False)
class FermiResult(Filling):
    """What an electron count says about a spectrum; see `dock.states.fermi_level.Filling`."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``fermi_energy.json`` (any name) and ``eigval.h5`` beside it; return both."""
        from dock.post.fermi_files import save

        return save(self, Path(path), overwrite=overwrite)

    def plot(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Draw the occupations of the states about the Fermi level; return the file."""
        from dock.post.plot_dos import plot_occupations

        return plot_occupations(self, Path(path), overwrite=overwrite)


def fermi_level(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    electrons: float | None = None,
    smearing: Method | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    cache: str | Path | None = None,
) -> FermiResult:
    """Find the Fermi level of a calculation by counting electrons.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    mesh
        A `KMesh`, three numbers of points (Γ-centred), or None for points 0.2/Å apart.
    electrons
        Valence electrons per cell; default those of the calculation.
    smearing
        A `Smearing`, or ``"tetrahedra"``. Default: Fermi–Dirac at 300 K.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this.
    jobs
        Threads.
    progress
        Told of each finished eigenproblem.
    cache
        An ``eigval.h5``; its eigenvalues are used if it carries the fingerprint of this H, S,
        mesh and threshold, and passed over otherwise.

    Returns
    -------
    FermiResult

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
    chosen = mesh if isinstance(mesh, KMesh) else make_mesh(calc, mesh)
    spectrum = None
    if cache is not None:
        from dock.post.fermi_files import load_spectrum

        spectrum = load_spectrum(calc, chosen, Path(cache), s_threshold=s_threshold)
    if spectrum is None:
        spectrum = compute_spectrum(
            calc, chosen, s_threshold=s_threshold, jobs=jobs, progress=progress
        )
    count = electrons_of(calc, electrons, spectrum.capacity)
    filled = occupy(spectrum, count, Smearing() if smearing is None else smearing)
    return FermiResult(*(getattr(filled, field.name) for field in fields(filled)))
