"""Fermi surfaces: the bands that cross the Fermi level, on a mesh for viewers or in a plane.

A mesh is periodic: point n stands for k = Σ n_a b_a / N_a. Speeds |v| are eV Å (dE/dk with the
overlap; within a level the root of the mean square), spins are ⟨σ⟩.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, UsageError
from dock.io.files import atomic_path, require_absent
from dock.io.progress import Progress, Report
from dock.response.kdata import KData, each
from dock.response.operators import Operators
from dock.response.per_state import signed_colours
from dock.response.spin import spin_of
from dock.results import Result
from dock.states.counted_level import is_other_count
from dock.states.fermi_level import find_level
from dock.states.gap import find_gap
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.kplane import KPlane
from dock.states.own_level import own_level
from dock.states.smearing import Smearing
from dock.states.solver import Solver, Want
from dock.states.spectrum import Spectrum
from dock.states.stream import levels
from dock.style import colours, ink

__all__ = ["COLOURS", "FermiSurface", "fermi_surface"]

COLOURS = ("none", "speed", "x", "y", "z")
"""What a surface is coloured by: nothing, |v|, or a component of the spin."""

_CHANNELS = ("up", "down")
_UNCROSSED = "no band crosses the Fermi level here"
_KEYS = {"speed": "surface_speeds_eV_ang"} | dict.fromkeys("xyz", "surface_spins")
_SPACING = 0.1  # 1/Å of the default mesh
_LEAST_SPIN = 0.05  # where colours end at least: noise is not to be seen
_FINE = 241  # points of the boundary of the zone


@dataclass(frozen=True, eq=False, repr=False)
class FermiSurface(Result):
    """Energies of the bands that cross the Fermi level.

    Attributes
    ----------
    structure, spin
        What was computed.
    where
        A Γ-centred `KMesh`, or a `KPlane`. Energies are those of all points of a mesh.
    fermi_level
        eV, absolute.
    bands
        The numbers of the bands of each channel, from 1.
    energies
        Of each channel (n_k, n_bands), eV, absolute.
    colour
        One of `COLOURS`.
    colours
        Of each channel (n_k, n_bands), eV Å or without unit; None without.
    """

    FILE = "fermi_surface.h5"
    FIGURE = (5.6, 5.0)

    structure: Structure
    spin: Spin
    where: KMesh | KPlane
    fermi_level: float
    bands: tuple[NDArray[np.int64], ...]
    energies: tuple[NDArray[np.float64], ...]
    colour: str = "none"
    colours: tuple[NDArray[np.float64], ...] | None = None

    @property
    def mesh(self) -> KMesh | None:
        """The mesh, or None for a plane."""
        return self.where if isinstance(self.where, KMesh) else None

    def facts(self) -> dict[str, Any]:
        """Return level, bands and k-points by key; see `dock.results.KEYS`."""
        numbers = [channel.tolist() for channel in self.bands]
        return {
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "fermi_level_eV": self.fermi_level,
            "crossing_bands": numbers,
            "colour": self.colour,
            **self.where.facts(),
        }

    def arrays(self) -> dict[str, Any]:
        """Return k-points, and energies and colours of all bands, channel behind channel.

        Columns are the bands of `crossing_bands`, those of the second channel behind the first's.
        """
        points = self.where.full_points if isinstance(self.where, KMesh) else self.where.points
        content = {
            "kpoints_frac": points,
            "crossing_energies_eV": np.concatenate(self.energies, axis=1),
        }
        if self.colours is not None:
            content[_KEYS[self.colour]] = np.concatenate(self.colours, axis=1)
        return content

    def datasets(self) -> dict[str, Any]:
        """Return the arrays, and the bands of each column with its channel."""
        channels = [np.full(len(bands), c) for c, bands in enumerate(self.bands)]
        return {
            **self.arrays(),
            "crossing_bands": np.concatenate(self.bands),
            "spin_channel": np.concatenate(channels),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return level, k-points and bands in words."""
        what = "k-mesh" if self.mesh is not None else "plane"
        rows = [("Fermi level", f"{self.fermi_level:.6f} eV"), (what, self.where.describe())]
        for channel, bands in enumerate(self.bands):
            name = f"bands {_CHANNELS[channel]}" if len(self.bands) == 2 else "bands"
            rows.append((name, ", ".join(map(str, bands)) or "none cross"))
        if self.mesh is not None and not self._is_crossed:
            rows.append(("plane of b1, b2", _UNCROSSED))
        return rows

    # --------------------------------------------------------------------------------- files

    @classmethod
    def targets(cls, path: str | Path, n_channels: int) -> list[Path]:
        """Return the files of a path: ``.bxsf`` and ``.frmsf`` one for each spin channel."""
        path = Path(path)
        if path.suffix.lower() not in {".bxsf", ".frmsf"}:
            return cls.files(path)
        if n_channels == 1:
            return [path]
        return [path.with_stem(f"{path.stem}_{name}") for name in _CHANNELS]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write ``.bxsf`` (XCrySDen) or ``.frmsf`` (FermiSurfer) files, else HDF5 and JSON.

        A channel without a surface has no file. `UsageError` for a plane in a viewer's file.
        """
        path = Path(self.FILE if path is None else path)
        kind = path.suffix.lower()
        if kind not in {".bxsf", ".frmsf"}:
            return super().save(path, overwrite=overwrite)
        if self.mesh is None:
            raise UsageError(f"{path}: a viewer's file is of a mesh: pass mesh=(N1, N2, N3).")
        targets = self.targets(path, len(self.bands))
        require_absent(targets, overwrite=overwrite)
        written = []
        write = self._write_bxsf if kind == ".bxsf" else self._write_frmsf
        for channel, target in enumerate(targets):
            if len(self.bands[channel]):
                with (
                    atomic_path(target, overwrite=overwrite) as temporary,
                    temporary.open("w", encoding="utf-8") as file,
                ):
                    write(file, channel, self.mesh)
                written.append(target)
        return written

    def _write_bxsf(self, file: Any, channel: int, mesh: KMesh) -> None:
        """Write XCrySDen's format: eV, the points of both ends, vectors without 2π.

        Energies count from the Fermi level: some readers know no level below zero.
        """
        vectors = self.structure.reciprocal / (2 * np.pi)
        numbers = self.bands[channel]
        file.write(f"BEGIN_INFO\n  # {self.structure.formula}, vectors in 1/A, energies in eV ")
        file.write(f"from the Fermi level at {self.fermi_level:.8f}\n")
        file.write("  Fermi Energy: 0.0\nEND_INFO\n\n")
        file.write("BEGIN_BLOCK_BANDGRID_3D\n  band_energies\n  BEGIN_BANDGRID_3D_BANDS\n")
        file.write(f"    {len(numbers)}\n    {' '.join(str(n + 1) for n in mesh.size)}\n")
        file.write("    0.0 0.0 0.0\n")
        for vector in vectors:
            file.write(f"    {' '.join(f'{x:.10f}' for x in vector)}\n")
        for column, number in enumerate(numbers):
            grid = (self.energies[channel][:, column] - self.fermi_level).reshape(mesh.size)
            file.write(f"  BAND: {number}\n")
            np.savetxt(file, np.pad(grid, ((0, 1),) * 3, mode="wrap").reshape(-1, 1), "    %.8f")
        file.write("  END_BANDGRID_3D\nEND_BLOCK_BANDGRID_3D\n")

    def _write_frmsf(self, file: Any, channel: int, mesh: KMesh) -> None:
        """Write FermiSurfer's format: energies from the Fermi level in eV, then the colours."""
        file.write(f"{' '.join(map(str, mesh.size))}\n1\n{len(self.bands[channel])}\n")
        for vector in self.structure.reciprocal:
            file.write(f"{' '.join(f'{x:.10f}' for x in vector)}\n")
        energies = self.energies[channel]
        colours = np.zeros_like(energies) if self.colours is None else self.colours[channel]
        for values in (energies - self.fermi_level, colours):
            np.savetxt(file, values.T.reshape(-1, 1), "%.8f")

    # ------------------------------------------------------------------------------- figures

    def draw(self, axes: Any) -> None:
        """Draw where the bands cross the Fermi level, in the plane, or b1–b2 through Γ of a mesh.

        Up is blue, down is red; grey lines are the borders of the Brillouin zone.
        """
        x, y, labels = self._in_plane()
        if min(x.shape) < 2:
            raise UsageError("a contour needs two points along both sides of a plane at least.")
        if self.colours is None:
            self._draw_bands(axes, x, y)
        else:
            self._draw_coloured(axes, x, y, self.colours)
        self._draw_zone(axes)
        axes.set_aspect("equal")
        axes.set_xlabel(f"k along {labels[0]} (1/Å)")
        axes.set_ylabel(f"k along {labels[1]} (1/Å)")
        level = f"{self.fermi_level:.3f}".replace("-", "−")
        title = f"{self.structure.formula}, Fermi level {level} eV"
        axes.set_title(title, fontsize="medium")
        if not self._is_crossed:
            axes.text(0.5, 0.5, _UNCROSSED, transform=axes.transAxes, ha="center", va="center")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(
                loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False
            )

    def _draw_bands(self, axes: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Draw the contours of each band in a colour of its own."""
        tints = colours()  # of two spins each has those that the other has not
        for channel, energies in enumerate(self.energies):
            for column, level in enumerate(self._grids(energies) - self.fermi_level):
                colour = tints[channel :: len(self.energies)][column % 5]
                if level.min() < 0 < level.max():
                    axes.contour(x, y, level, levels=[0.0], colors=[colour], linewidths=1.4)
                    spin = f" {_CHANNELS[channel]}" if len(self.energies) == 2 else ""
                    name = f"band {self.bands[channel][column]}{spin}"
                    axes.plot([], [], "-", color=colour, label=name)

    def _draw_coloured(
        self,
        axes: Any,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        colours: tuple[NDArray[np.float64], ...],
    ) -> None:
        """Draw the contours of all bands coloured by speed or spin."""
        from contourpy import contour_generator
        from matplotlib.collections import LineCollection
        from scipy.ndimage import map_coordinates

        pieces, values = [], []
        for energies, shades in zip(self.energies, colours, strict=True):
            levels_of, shades_of = self._grids(energies) - self.fermi_level, self._grids(shades)
            for level, shade in zip(levels_of, shades_of, strict=True):
                for line in contour_generator(z=level).lines(0.0):
                    places = np.asarray(line)[:, ::-1].T  # of points: row, column
                    k = np.stack([map_coordinates(g, places, order=1) for g in (x, y)], axis=-1)
                    pieces.append(np.stack([k[:-1], k[1:]], axis=1))
                    at = map_coordinates(shade, places, order=1)
                    values.append(0.5 * (at[1:] + at[:-1]))
        if not pieces:
            return
        signed = self.colour != "speed"
        drawn = LineCollection(
            list(np.concatenate(pieces)), cmap=signed_colours() if signed else "viridis", lw=1.8
        )
        drawn.set_array(np.concatenate(values))
        if signed:
            limit = max(_LEAST_SPIN, float(np.abs(drawn.get_array()).max()))
            drawn.set_clim(-limit, limit)
        axes.add_collection(drawn)
        axes.autoscale_view()
        label = f"$s_{self.colour}$" if signed else "|v| (eV Å)"
        axes.figure.colorbar(drawn, ax=axes, label=label)

    @property
    def _is_crossed(self) -> bool:
        """Whether a band crosses the level between the points that are drawn."""
        grids = [self._grids(energies) - self.fermi_level for energies in self.energies]
        return any(level.min() < 0 < level.max() for grid in grids for level in grid)

    @property
    def _plane(self) -> KPlane:
        if isinstance(self.where, KPlane):
            return self.where
        return KPlane((1, 2), size=self.where.size[:2])

    def _grids(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (n_k, n_bands) as (n_bands, …) in the plane; of a closed one 9 periods."""
        if isinstance(self.where, KMesh):
            grid = values.reshape(*self.where.size, -1)[:, :, 0]
        else:
            grid = values.reshape(*self.where.size, -1)
        grid = np.moveaxis(grid, -1, 0)
        if not self._plane.is_closed:
            return grid
        return np.pad(np.tile(grid, (1, 3, 3)), ((0, 0), (0, 1), (0, 1)), mode="wrap")

    def _in_plane(self) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
        """Return x and y (1/Å) of the points of `_grids`, and names of the axes."""
        plane = self._plane
        first, second = plane.sides
        if plane.is_closed:  # three periods along each side: the zone is seen whole
            starts = (0.0, 0.0) if isinstance(self.where, KMesh) else (first[0], second[0])
            first, second = (
                start - 1 + np.arange(3 * n + 1) / n
                for start, n in zip(starts, plane.size, strict=True)
            )
        a, b = plane.sides_frac @ self.structure.reciprocal
        k = first[:, None, None] * a + second[None, :, None] * b
        x, y = np.moveaxis(k @ plane.in_plane(self.structure.reciprocal).T, -1, 0)
        if plane.is_cartesian:
            return x, y, list(plane.axes)
        return x, y, [f"b{plane.axes[0]}", f"⊥ b{plane.axes[0]}"]

    def _draw_zone(self, axes: Any) -> None:
        """Draw the borders of the Brillouin zone in the plane, and show it whole."""
        reciprocal, plane = self.structure.reciprocal, self._plane
        frame = plane.in_plane(reciprocal)
        shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1)
        lattice = shifts.reshape(-1, 3) @ reciprocal
        lattice = lattice[np.linalg.norm(lattice, axis=1) > 1e-9]
        reach = 0.75 * float(np.linalg.norm(reciprocal, axis=1).max())
        if plane.is_cartesian:
            reach = 0.5 * plane.extent
        s = np.linspace(-reach, reach, _FINE)
        k = np.array(plane.origin) @ reciprocal + (
            s[:, None, None] * frame[0] + s[None, :, None] * frame[1]
        )
        # Inside, Γ is nearer than any other reciprocal lattice point.
        beyond = (np.sum(lattice**2, axis=1) - 2 * k @ lattice.T).min(axis=-1)
        if beyond.min() < 0 < beyond.max():
            axes.contour(
                s[:, None] + 0 * s, s + 0 * s[:, None], beyond, levels=[0.0], colors=ink(0.4),
                linewidths=0.8,
            )  # fmt: skip
        if plane.is_closed:
            inside = np.abs(s)[np.any(beyond > 0, axis=1)], np.abs(s)[np.any(beyond > 0, axis=0)]
            limits = [1.08 * float(side.max(initial=0.1)) for side in inside]
            axes.set_xlim(-limits[0], limits[0])
            axes.set_ylim(-limits[1], limits[1])


def fermi_surface(
    calc: Calculation,
    where: KMesh | KPlane | Sequence[int] | None = None,
    *,
    fermi_level: float | None = None,
    electrons: float | None = None,
    colour: str = "none",
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    s_threshold: float | None = None,
    progress: Report = None,
) -> FermiSurface:
    """Compute the bands that cross the Fermi level, on a mesh or in a plane.

    Parameters
    ----------
    where
        Three numbers of points of a Γ-centred mesh, a `KMesh`, a `KPlane`, or None for points
        0.1/Å apart. Symmetry is used except for spins.
    fermi_level
        eV, absolute; default that of the data, or the one that electrons tell.
    electrons
        Electrons per cell; default those of the calculation.
    colour
        One of `COLOURS`; spin needs spinors.
    solver, jobs, s_threshold, progress
        See `dock.states.stream.states`.

    Raises
    ------
    UsageError
        For an insulator, unless a Fermi level within its bands is given; a shifted mesh; an unknown
        colour.
    MissingDataError
        Without a Fermi level and an electron count.
    ConventionError
        For spins without spinors.

    Examples
    --------
    >>> import dock
    >>> surface = fermi_surface(dock.read("fixtures/openmx/si"), (4, 4, 4), fermi_level=-4.0)
    >>> surface.bands[0].tolist()
    [2, 3, 4]
    """
    if colour not in COLOURS:
        raise UsageError(f"a surface is coloured by {', '.join(COLOURS)}; found '{colour}'.")
    if is_other_count(calc, electrons):  # the level of the data is not theirs
        calc = dataclasses.replace(calc, n_electrons=electrons, fermi_level=None)
    calc = calc.replace(n_electrons=electrons)
    operators = Operators.of(calc)
    is_spin = colour in ("x", "y", "z")
    if is_spin:
        operators.require_spinor("a surface coloured by spin")
    points = _points(calc, where, turns=is_spin)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    run["progress"] = Progress.of(progress)
    if colour == "none":
        want = Want(s_threshold=run.pop("s_threshold"))
        energies = levels(operators.problem, points.points, want, **run).energies
        of_states = None
    else:
        energies, of_states = _coloured(operators, points.points, colour, run)
    complete = ~np.isnan(energies).any(axis=(0, 1))
    energies = energies[..., complete]
    level = _level(calc, points, energies, fermi_level)
    crossing = (energies.min(axis=1) < level) & (energies.max(axis=1) > level)
    if not crossing.any():
        more = "a denser" if isinstance(points, KMesh) else "another plane, or a"
        raise UsageError(
            f"{calc.source}: no band crosses the Fermi level, {level:.6f} eV, at these k-points. "
            f"Pass {more} mesh=(N1, N2, N3), or fermi_level=E."
        )
    whole = points.index if isinstance(points, KMesh) else slice(None)
    columns = [np.flatnonzero(row) for row in crossing]
    shown = None
    if of_states is not None:
        shown = tuple(of_states[c][whole][:, b] for c, b in enumerate(columns))
    return FermiSurface(
        calc.structure,
        calc.spin,
        points,
        level,
        tuple(b + 1 for b in columns),
        tuple(energies[c][whole][:, b] for c, b in enumerate(columns)),
        colour,
        shown,
    )


def _points(
    calc: Calculation, where: KMesh | KPlane | Sequence[int] | None, *, turns: bool
) -> KMesh | KPlane:
    """Return the k-points, reduced by symmetry unless what is computed turns with it."""
    if isinstance(where, KPlane):
        return where
    spacing = _SPACING if where is None else None
    mesh = make_mesh(calc, where, spacing=spacing, reduction="none" if turns else "point-group")
    if np.any(np.mod(np.array(mesh.shift) + 1e-9, 1.0) > 1e-6):
        raise UsageError("the mesh of a Fermi surface has Γ: leave out centring and shift.")
    if turns and mesh.symmetry is not None:
        return KMesh.full(mesh.size)
    return mesh


def _coloured(
    operators: Operators, kpoints: NDArray[np.float64], colour: str, run: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies and colours (n_channels, n_k, n_bands)."""

    def values(data: KData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if colour == "speed":
            return data.energies, _speeds(data)
        return data.energies, spin_of(data)[:, "xyz".index(colour)]

    found = list(each(operators, kpoints, values, **run))
    n_bands = min(len(energies) for energies, _ in found)
    shape = (operators.n_channels, len(kpoints), n_bands)
    energies, colours = (
        np.stack([row[which][:n_bands] for row in found]).reshape(shape) for which in (0, 1)
    )
    return energies, colours


def _speeds(data: KData) -> NDArray[np.float64]:
    """Return |v| of all states, eV Å; within a level the root of the mean square."""
    out = np.empty(data.n_states)
    for level in data.groups:
        matrices = data.slope_matrix(level, level)
        out[level] = np.sqrt(np.sum(np.abs(matrices) ** 2) / (level.stop - level.start))
    return out


def _level(
    calc: Calculation,
    points: KMesh | KPlane,
    energies: NDArray[np.float64],
    given: float | None,
) -> float:
    """Return the Fermi level; `UsageError` where it lies in the gap of a mesh.

    A plane, or a part of one, has gaps in a metal too.
    """
    if given is not None:
        return given
    count, level = calc.n_electrons, calc.fermi_level
    if count is None and level is None:
        raise MissingDataError(
            "the Fermi level", calc.source, "Pass fermi_level=E (eV, absolute) or electrons=N."
        )
    if isinstance(points, KMesh):
        filled = None if count is None else count / calc.spin.degeneracy
        gap = find_gap(energies, points.points, n_filled=filled, fermi_level=level)
        if gap.kind == "insulator":
            raise UsageError(
                f"{calc.source}: an insulator has no Fermi surface; its gap is {gap.size:.3f} eV "
                "on this mesh. Pass fermi_level=E for one within the bands, as that of a doped "
                "crystal."
            )
    if level is not None:
        return level
    if isinstance(points, KMesh) and count is not None:
        spectrum = Spectrum(calc.structure, calc.spin, points, energies, "")
        return find_level(spectrum, count, Smearing())[0]
    counted = own_level(calc)
    if counted is None:
        raise MissingDataError("the Fermi level", calc.source, "Pass fermi_level=E (eV).")
    return counted
