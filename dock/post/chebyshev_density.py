"""Densities of states by Chebyshev moments (KPM): no eigenvectors, an error bar, memory O(atoms).

    ρ(e) = Tr δ(e − S⁻¹H) = Σ_n μ_n g_n T_n(x(e)) …,   μ_n = E[⟨w_0| T_n |v_0⟩]

over random vectors with E[w_0 w_0†] = B (`dock.states.kpm`). The Mulliken share of a group of
orbitals is the same sum over its rows. What chance does to a curve is measured by the spread of the
vectors, and what is seen of the spectrum is a property of the kernel: both go with the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.post.legend import add_legend, shown_groups
from dock.results import Result
from dock.states.kmesh import KMesh
from dock.states.kpm.pencil import Tile

__all__ = ["ChebyshevDensity"]

_SHOWN = 6.0  # eV on both sides of the Fermi level when no window is given


@dataclass(frozen=True, eq=False, repr=False)
class ChebyshevDensity(Result):
    """A density of states by Chebyshev moments; per cell, also of a tile.

    Errors are half widths of 95 % intervals (Student's t over the random vectors).

    Attributes
    ----------
    structure, spin, mesh, tile
        What was computed: the cell, repeated `tile` times; k-points of the tile.
    energies : (n,)
        eV, absolute.
    total, error : (n_spin, n)
        States per eV and cell, and their statistical error.
    resolution : (n,)
        Standard deviation of the kernel at each energy, eV.
    names, projected, projected_error : (n_spin, n_names, n)
        Mulliken densities of groups of orbitals.
    local_atoms, local : (n_spin, n_atoms, n)
        Mulliken densities of single atoms (numbers from 1), without chance.
    fermi_level, fermi_source
        The level that energies count from, eV, absolute.
    counted_level, counted_level_error
        The level up to which the density holds the electrons, eV; None without a count.
    counted, counted_error
        ∫ of the density up to `fermi_level`, electrons per cell.
    band_energy, band_energy_error
        ∫ e ρ(e) de up to `fermi_level`, eV per cell.
    n_moments, n_vectors, seed
        Of the series; random vectors of each channel and k-point.
    inverse_error
        By how much the approximate inverse may move a level, eV: the largest bound of the energies.
    bounds
        Of the spectrum, eV, absolute.
    level_total, level_error, level_resolution
        States per eV and cell of both spins at the Fermi level, their error, and the width of the
        kernel there in eV: also where `energies` do not reach the level.
    """

    FILE = "dos.h5"

    structure: Structure
    spin: Spin
    mesh: KMesh
    tile: Tile
    energies: NDArray[np.float64]
    total: NDArray[np.float64]
    error: NDArray[np.float64]
    resolution: NDArray[np.float64]
    names: tuple[str, ...]
    projected: NDArray[np.float64]
    projected_error: NDArray[np.float64]
    local_atoms: tuple[int, ...]
    local: NDArray[np.float64]
    fermi_level: float
    fermi_source: str
    n_electrons: float | None
    counted_level: float | None
    counted_level_error: float | None
    counted: float
    counted_error: float
    band_energy: float
    band_energy_error: float
    n_moments: int
    n_vectors: int
    seed: int
    inverse: str
    inverse_error: float
    bounds: tuple[float, float]
    level_total: float
    level_error: float
    level_resolution: float

    @property
    def relative(self) -> NDArray[np.float64]:
        """(n,) energies from the Fermi level, eV."""
        relative: NDArray[np.float64] = self.energies - self.fermi_level
        return relative

    @property
    def n_cells(self) -> int:
        """Cells of the tile."""
        return int(np.prod(self.tile))

    def facts(self) -> dict[str, Any]:
        """Return integrals with errors, level, resolution and settings; see `KEYS`."""
        x = self.relative
        return {
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "method": "kpm",
            "n_moments": self.n_moments,
            "n_vectors": self.n_vectors,
            "seed": self.seed,
            "tile": list(self.tile),
            "resolution_eV": self.level_resolution,
            "dos_error_at_fermi_1_per_eV": self.level_error,
            "inverse": self.inverse,
            "inverse_error_eV": self.inverse_error,
            "spectrum_bounds_eV": list(self.bounds),
            "fermi_level_eV": self.fermi_level,
            "fermi_source": self.fermi_source,
            "counted_fermi_level_eV": self.counted_level,
            "counted_fermi_level_error_eV": self.counted_level_error,
            "n_electrons": self.n_electrons,
            "counted_electrons": self.counted,
            "counted_electrons_error": self.counted_error,
            "band_energy_eV": self.band_energy,
            "band_energy_error_eV": self.band_energy_error,
            "kmesh": list(self.mesh.size),
            "n_irreducible": self.mesh.n_points,
            "projection_names": list(self.names),
            "local_atoms": list(self.local_atoms),
            "emin_eV": float(x[0]),
            "emax_eV": float(x[-1]),
            "n_energies": len(x),
        }

    def arrays(self) -> dict[str, Any]:
        """Return energies, densities, and their errors and resolution."""
        found = {
            "energies_relative_eV": self.relative,
            "dos_1_per_eV": self.total,
            "dos_error_1_per_eV": self.error,
            "resolutions_eV": self.resolution,
        }
        if self.names:
            found["projected_dos"] = self.projected
            found["projected_dos_error"] = self.projected_error
        if self.local_atoms:
            found["local_dos"] = self.local
        return found

    def rows(self) -> list[tuple[str, str]]:
        """Return what was done, how sharp and how certain it is, and the counts."""
        x, level = self.relative, self.fermi_level
        sharp = 1e3 * self.resolution
        mean = float(np.trapezoid(self.error.sum(axis=0), x) / (x[-1] - x[0]))
        tile = "" if self.n_cells == 1 else f"tile {' × '.join(map(str, self.tile))}; "
        size = " × ".join(map(str, self.mesh.size))
        counted = f"{self.counted:.4f} ± {self.counted_error:.4f}"
        if self.n_electrons is not None:
            counted += f" of {self.n_electrons:g} electrons"
        moments = f"{self.n_moments} Chebyshev moments (KPM) of {self.n_vectors} random vectors"
        here = f"{1e3 * self.level_resolution:.1f} meV at the Fermi level"
        certain = f"± {self.level_error:.3g} of {self.level_total:.4g} states/eV at the Fermi level"
        moved = f"levels move by less than {1e3 * self.inverse_error:.2g} meV"
        rows = [
            ("energies", f"{len(x)} from {x[0]:.3f} to {x[-1]:.3f} eV"),
            ("method", f"{moments}, seed {self.seed}; {tile}k-mesh {size}"),
            ("resolution", f"{here}, {sharp.min():.1f} … {sharp.max():.1f} meV (σ of the kernel)"),
            ("statistical error", f"{certain}, ± {mean:.3g} in the mean (95 %)"),
            ("inverse of S", f"{self.inverse}: {moved}"),
            ("spectrum", f"{self.bounds[0]:.3f} … {self.bounds[1]:.3f} eV"),
            ("Fermi level", f"{level:.6f} eV ({self.fermi_source})"),
        ]
        if self.counted_level is not None:
            spread = f"{self.counted_level:.4f} ± {self.counted_level_error:.4f} eV"
            rows.append(("  counted", f"{spread}, by the integral of the density"))
        rows.append(("∫ to E_F", counted))
        rows.append(
            ("band energy", f"{self.band_energy:.4f} ± {self.band_energy_error:.4f} eV / cell")
        )
        return rows

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw the total with its error band, projections and local densities; spin down below.

        The window is in eV from the Fermi level; default 6 on both sides.
        """
        x = self.relative
        low, high = window or (max(x[0], -_SHOWN), min(x[-1], _SHOWN))
        shown = (x >= low) & (x <= high)
        if not shown.any():
            raise UsageError(f"no energy of the grid lies from {low:g} to {high:g} eV.")
        sizes = np.abs(self.projected[..., shown]).sum(axis=(0, 2))
        groups = shown_groups(self.names, sizes)
        for channel, (row, error) in enumerate(zip(self.total, self.error, strict=True)):
            sign = -1 if channel else 1
            label = None if channel else "total"
            ends = sign * (row - error), sign * (row + error)
            axes.fill_between(x, *ends, color="0.75", lw=0, label=None if channel else "95 %")
            axes.plot(x, sign * row, color="0.2", lw=0.8, label=label)
            for group in groups:
                values = sign * self.projected[channel, list(group.members)].sum(axis=0)
                name = None if channel else group.name
                axes.plot(x, values, lw=0.9, color=group.colour, label=name)
            for number, values in zip(self.local_atoms, self.local[channel], strict=True):
                name = None if channel else f"atom {number}"
                axes.plot(x, sign * values, lw=0.9, ls="--", label=name)
        top = 1.08 * float((self.total + self.error)[:, shown].max()) or 1.0
        axes.set_ylim(-top if len(self.total) == 2 else 0, top)
        axes.set_xlim(low, high)
        axes.axvline(0.0, color="0.5", lw=0.8, ls=":")
        axes.set_xlabel("energy − Fermi level (eV)")
        axes.set_ylabel("states / eV / cell")
        width = 1e3 * self.level_resolution
        axes.set_title(f"{self.structure.formula}  σ = {width:.0f} meV", fontsize="medium")
        add_legend(axes)
