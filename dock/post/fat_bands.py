"""Bands with projections on orbitals: how much of each state is made of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.post.band_structure import BandStructure
from dock.post.population import Scheme
from dock.post.projections import OrbitalProjector, Projector
from dock.states.spectrum import Progress, channels, matrices
from dock.states.stream import solve_each

__all__ = ["FatBands", "project_bands"]


@dataclass(frozen=True, eq=False)
class FatBands:
    """Shares of orbital groups in the states of a band structure.

    Attributes
    ----------
    bands
        The bands.
    names
        The groups.
    weights : (n_spin, n_k, n_bands, n_names)
        Shares; NaN where a k-point has no such band. Over groups of all orbitals they sum to 1.
    """

    bands: BandStructure
    names: tuple[str, ...]
    weights: NDArray[np.float64]

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``band.h5`` with the projections in it, and the JSON file of the same name."""
        from dock.post.band_files import save

        projections = {"projection_names": list(self.names), "projections": self.weights}
        return save(self.bands, Path(path), overwrite=overwrite, projections=projections)

    def plot(
        self,
        path: str | Path,
        *,
        window: tuple[float, float] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Draw the bands with a dot per state and group, its area the share; return the file."""
        from dock.post.plot_dos import plot_fat_bands

        return plot_fat_bands(self, Path(path), window=window, overwrite=overwrite)


def project_bands(
    calc: Calculation,
    bands: BandStructure,
    by: str | Sequence[str] | Projector = "species,l",
    *,
    scheme: Scheme = "mulliken",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> FatBands:
    """Project the states of a band structure on groups of orbitals.

    Parameters
    ----------
    calc
        The calculation that the bands belong to.
    bands
        Its band structure; only the bands in it are projected.
    by, scheme
        See `dock.post.projections.OrbitalProjector`; or any other projector.
    s_threshold
        The same as for the bands.
    jobs, progress
        As in `dock.post.band_structure.bands`.

    Raises
    ------
    UsageError
        For unknown fields or schemes.

    Notes
    -----
    States that are degenerate at a k-point share their projections in an arbitrary way; only the
    sum over them has a meaning.

    Examples
    --------
    >>> import dock
    >>> from dock.post import bands
    >>> calc = dock.read("fixtures/openmx/si")
    >>> fat = project_bands(calc, bands(calc, path="LGX", points=5), "l")
    >>> fat.names, bool(np.allclose(fat.weights.sum(axis=-1), 1))
    (('s', 'p'), True)
    """
    projector: Any = by if hasattr(by, "weights") else OrbitalProjector(calc, by, scheme)
    hamiltonian, overlap = matrices(calc)
    points = bands.path.kpoints_frac
    n_spin, n_k, n_bands = bands.energies.shape
    weights = np.full((n_spin, n_k, n_bands, len(projector.names)), np.nan)
    for number, channel in enumerate(channels(hamiltonian, overlap)):
        found = solve_each(
            channel.build,
            points,
            jobs=jobs,
            eigenvectors=True,
            index_range=(bands.first_band, bands.first_band + n_bands),
            s_threshold=s_threshold,
            progress=_part(progress, number * n_k, n_spin * n_k),
        )
        for at, result in enumerate(found):
            vectors: Any = result.eigenvectors
            shares = projector.weights(number, points[at], vectors)
            weights[number, at, : shares.shape[1]] = shares.T
    weights[np.isnan(bands.energies)] = np.nan
    return FatBands(bands, projector.names, weights)


def _part(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
