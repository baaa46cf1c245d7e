"""Vectors of single states over k-points: what velocities and spin textures have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import SolverError, UsageError
from dock.response.band_set import band_range, words_of_range
from dock.response.kset import KSet
from dock.response.operators import Operators
from dock.results import Result
from dock.states.own_level import level_of_data
from dock.style import ink

__all__ = ["StateVectors", "gathered", "signed_colours", "zero_of_energy"]

_SHOWN = 6.0  # eV on both sides of the Fermi level in a figure
_LISTED = 48  # states that a table has a line for
_MOST_PANELS = 6
_COMPONENTS = "xyz"


@dataclass(frozen=True, eq=False, repr=False)
class StateVectors(Result):
    """A vector for each state; base of the results of single states.

    Attributes
    ----------
    structure, spin
        What was computed.
    where
        The k-points.
    first_band
        Number of the first band, from 1.
    energies : float64 (n_channels, n_k, n_bands)
        eV, absolute.
    vectors : float64 (n_channels, n_k, n_bands, 3)
        Cartesian components.
    sizes : int64 (n_channels, n_k, n_bands)
        How many states the level of each has.
    fermi_level
        eV, absolute; None where unknown.
    within
        What stands for the states of one level, in words.
    """

    BRIEF = True
    FIGURE = (5.0, 4.2)
    KEY: ClassVar[str] = ""
    NAME: ClassVar[str] = ""
    LETTER: ClassVar[str] = ""
    UNIT: ClassVar[str] = ""

    structure: Structure
    spin: Spin
    where: KSet
    first_band: int
    energies: NDArray[np.float64]
    vectors: NDArray[np.float64]
    sizes: NDArray[np.int64]
    fermi_level: float | None
    within: str

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.energies.shape[2])

    @property
    def bands(self) -> slice:
        """The range of bands, from 0."""
        return slice(self.first_band - 1, self.first_band - 1 + self.n_bands)

    @property
    def reference(self) -> float:
        """The energy that figures call zero: the Fermi level, or 0 without one."""
        return 0.0 if self.fermi_level is None else self.fermi_level

    @property
    def n_shared(self) -> int:
        """Number of states that share their level with others."""
        return int(np.count_nonzero(self.sizes > 1))

    def facts(self) -> dict[str, Any]:
        """Return k-points and bands by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            "n_bands": self.n_bands,
            "first_band": self.first_band,
            "fermi_level_eV": self.fermi_level,
            **self.where.facts(),
            "within_levels": self.within,
            "n_shared_states": self.n_shared,
        }

    def arrays(self) -> dict[str, Any]:
        """Return k-points, energies, vectors and sizes of levels by key."""
        return {
            **self.where.arrays(),
            "energies_eV": self.energies,
            self.KEY: self.vectors,
            "level_sizes": self.sizes,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the arrays; the segments of a path by the names of ``band.h5``."""
        others = {
            name: value for name, value in self.arrays().items() if name not in self.where.arrays()
        }
        return {**self.where.datasets(), **others}

    def rows(self) -> list[tuple[str, str]]:
        """Return k-points and bands in words, and the states of a short list one by one."""
        rows = [
            ("k-points", self.where.describe()),
            ("bands", words_of_range(self.bands)),
        ]
        if self.n_shared:
            rows.append(("levels", f"{self.n_shared} states share theirs: {self.within}"))
        rows += self._largest()
        if self.where.kind == "list" and self.energies.size <= _LISTED:
            rows += self._lines()
        return rows

    def _largest(self) -> list[tuple[str, str]]:
        lengths = np.linalg.norm(self.vectors, axis=-1)
        c, k, b = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
        at = ", ".join(f"{x:.4g}" for x in self.where.points[k])
        text = f"{lengths[c, k, b]:.6f}{self.UNIT and ' ' + self.UNIT}"
        return [("largest", f"{text}: band {self.first_band + int(b)} at k = ({at})")]

    def _lines(self) -> Iterator[tuple[str, str]]:
        n_channels, n_k, n_bands = self.energies.shape
        for c, k, b in np.ndindex(n_channels, n_k, n_bands):
            at = ", ".join(f"{x:.4g}" for x in self.where.points[k])
            spin = ("", " up", " down")[n_channels - 1 + (c if n_channels == 2 else 0)]
            vector = "  ".join(f"{x:+.6f}" for x in self.vectors[c, k, b])
            energy = f"{self.energies[c, k, b]:12.6f} eV"
            shared = f"  level of {self.sizes[c, k, b]}" if self.sizes[c, k, b] > 1 else ""
            yield f"({at}) {self.first_band + b}{spin}", f"{energy}  {vector}{shared}"

    # ------------------------------------------------------------------------------- figures

    @property
    def n_panels(self) -> int:
        """One for each spin channel of a path; of a plane one for each band, too."""
        n_channels = len(self.energies)
        return n_channels * self.n_bands if self.where.kind == "plane" else n_channels

    def draw(
        self,
        axes: Any,
        *,
        component: str | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        """Draw bands on a path coloured by a component, or arrows on a plane.

        Arrows have the components in the plane, colours the one along its normal, lines the
        energies. `component` is ``x``, ``y``, ``z`` or ``norm``, for a path; the window is in eV
        from the Fermi level.

        Raises
        ------
        UsageError
            For a list or a mesh, an unknown component, or more than six panels.
        """
        if component is not None and component not in {*_COMPONENTS, "norm"}:
            raise UsageError(f"a component is x, y, z or norm, found '{component}'.")
        if self.where.kind == "path":
            for channel, panel in enumerate(self.panels(axes)):
                self._draw_path(panel, channel, component or self._component(), window)
        elif self.where.kind == "plane":
            self.require_few_panels()
            for number, panel in enumerate(self.panels(axes)):
                channel, band = divmod(number, self.n_bands)
                self._draw_plane(panel, channel, band)
        else:
            raise UsageError(f"a figure of {self.NAME} is of a path or a plane of k-points.")

    def require_few_panels(self) -> None:
        """Refuse a figure of a plane with more panels than one can look at."""
        if self.where.kind == "plane" and self.n_panels > _MOST_PANELS:
            raise UsageError(
                f"a figure of a plane has a panel for each band, at most {_MOST_PANELS}; there are "
                f"{self.n_panels}. Pass bands='N..M'."
            )

    def _component(self) -> str:
        return "norm"

    def _shown(self, channel: int, component: str) -> NDArray[np.float64]:
        vectors = self.vectors[channel]
        if component == "norm":
            lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=-1)
            return lengths
        shown: NDArray[np.float64] = vectors[..., _COMPONENTS.index(component)]
        return shown

    def _label(self, component: str) -> str:
        unit = f" ({self.UNIT})" if self.UNIT else ""
        if component == "norm":
            return f"|{self.LETTER}|{unit}"
        return f"${self.LETTER}_{component}${unit}"

    def _draw_path(
        self, axes: Any, channel: int, component: str, window: tuple[float, float] | None
    ) -> None:
        from matplotlib.collections import LineCollection

        path = self.where.what
        x, segment = path.distances, path.segment
        energies, colours = self.energies[channel] - self.reference, self._shown(channel, component)
        low, high = window or self._window(energies)
        if np.ptp(x) > 0:
            ends = np.stack([np.broadcast_to(x[:, None], energies.shape), energies], axis=-1)
            joined = segment[1:] == segment[:-1]
            lines = np.stack([ends[:-1], ends[1:]], axis=2)[joined].reshape(-1, 2, 2)
            values = (0.5 * (colours[1:] + colours[:-1]))[joined].ravel()
            axes.set_xlim(x[0], x[-1])
        else:  # the levels of a molecule
            lines = np.stack([[(-0.8, e), (0.8, e)] for e in energies[0]])
            values = colours[0]
            axes.set_xlim(-1.0, 1.0)
        seen = (energies >= low) & (energies <= high)
        limit = self._limit(colours[seen], self.vectors[channel][seen])
        signed = component != "norm"
        drawn = LineCollection(list(lines), cmap=signed_colours() if signed else "viridis", lw=1.6)
        drawn.set_array(values)
        drawn.set_clim(-limit if signed else 0.0, limit)
        axes.add_collection(drawn)
        axes.set_ylim(low, high)
        axes.set_title(self._title(channel), fontsize="medium")
        self._draw_frame(axes)
        axes.figure.colorbar(drawn, ax=axes, label=self._label(component))

    def _draw_frame(self, axes: Any) -> None:
        """Draw the points of the path and the Fermi level."""
        ticks = self.where.what.ticks
        for place, _ in ticks:
            axes.axvline(place, color=ink(0.25), lw=0.6, zorder=0)
        axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
        if self.fermi_level is not None:
            axes.axhline(0.0, color=ink(0.5), lw=0.8, ls=":")
        axes.set_ylabel("energy (eV)" if self.fermi_level is None else "energy − Fermi level (eV)")

    def _window(self, energies: NDArray[np.float64]) -> tuple[float, float]:
        """Return the energies that are drawn: about the Fermi level, or all without one."""
        low, high = float(energies.min()) - 0.2, float(energies.max()) + 0.2
        return (low, high) if self.fermi_level is None else (max(low, -_SHOWN), min(high, _SHOWN))

    @staticmethod
    def _limit(values: NDArray[np.float64], vectors: NDArray[np.float64]) -> float:
        """Return where colours end: noise of a component that vanishes is not to be seen."""
        least = 0.05 * float(np.linalg.norm(vectors, axis=-1).max(initial=0.0))
        return max(float(np.abs(values).max(initial=0.0)), least) or 1.0

    def _title(self, channel: int, band: int | None = None) -> str:
        spin = ("", "  up", "  down")[len(self.energies) - 1 + channel * (len(self.energies) - 1)]
        number = "" if band is None else f"  band {self.first_band + band}"
        return f"{self.structure.formula}{number}{spin}"

    def _draw_plane(self, axes: Any, channel: int, band: int) -> None:
        plane = self.where.what
        frame = plane.in_plane(self.structure.reciprocal)
        normal = np.cross(frame[0], frame[1])
        size = plane.size
        offsets = (plane.points - np.array(plane.origin)) @ self.structure.reciprocal
        x, y = (offsets @ frame.T).T.reshape(2, *size)
        vectors = self.vectors[channel, :, band].reshape(*size, 3)
        along, out = vectors @ frame.T, vectors @ normal
        energies = (self.energies[channel, :, band] - self.reference).reshape(size)
        step = max(1, -(-max(size) // 21))  # no more than 21 arrows along a side
        few = (slice(None, None, step),) * 2
        limit = self._limit(out, vectors)
        longest = float(np.linalg.norm(vectors, axis=-1).max()) or 1.0
        reach = max(float(np.ptp(x)), float(np.ptp(y))) or 1.0
        scale = 0.8 * longest * max(1, max(size) // step) / reach
        if min(size) > 1 and np.ptp(energies) > 0:
            axes.contour(x, y, energies, levels=9, colors=ink(0.2), linewidths=0.6)
        arrows = axes.quiver(
            x[few], y[few], along[few][..., 0], along[few][..., 1], out[few],
            cmap=signed_colours(), pivot="mid", width=0.005,
            angles="xy", scale_units="xy", scale=scale,
        )  # fmt: skip
        arrows.set_clim(-limit, limit)
        axes.set_aspect("equal")
        names = self._axis_names(frame, normal)
        axes.set_xlabel(f"k along {names[0]} (1/Å)")
        axes.set_ylabel(f"k along {names[1]} (1/Å)")
        axes.set_title(self._title(channel, band), fontsize="medium")
        unit = f" ({self.UNIT})" if self.UNIT else ""
        beside = axes.inset_axes((1.04, 0.0, 0.05, 1.0))  # as high as the panel
        axes.figure.colorbar(arrows, cax=beside, label=f"${self.LETTER}$ along {names[2]}{unit}")

    @staticmethod
    def _axis_names(frame: NDArray[np.float64], normal: NDArray[np.float64]) -> list[str]:
        """Return directions in words: an axis, or Cartesian components."""
        names = []
        for vector in (*frame, normal):
            axis = int(np.argmax(np.abs(vector)))
            if abs(abs(vector[axis]) - 1) < 1e-6:
                names.append(("−" if vector[axis] < 0 else "") + _COMPONENTS[axis])
            else:
                names.append("(" + ", ".join(f"{x:.2g}" for x in vector) + ")")
        return names


def signed_colours() -> Any:
    """Return colours of a sign: blue, dark where it vanishes (arrows are seen there too), red."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", ["#2a6fdb", "#3a3a3a", "#d6322c"])


def zero_of_energy(operators: Operators, where: KSet) -> float | None:
    """Return the Fermi level of the data; for the figure of a path also that of the electrons."""
    return level_of_data(operators.calc) if where.kind == "path" else operators.calc.fermi_level


def gathered(
    operators: Operators,
    where: KSet,
    bands: str | range | slice | None,
    rows: Iterator[dict[str, NDArray[Any]]],
) -> tuple[int, dict[str, NDArray[Any]]]:
    """Return the first band's number, from 1, and arrays (n_channels, n_k, n_bands, …) of rows.

    Without a choice of bands those that every k-point has are taken. `SolverError` where a
    k-point lacks one that was asked for, since a threshold of S left it out.
    """
    chosen = band_range(bands, operators.problem.size)
    found = list(rows)
    fewest = min(len(row["energies"]) for row in found)
    if bands is None:
        chosen = slice(0, fewest)
    elif fewest < chosen.stop:
        short = next(i for i, row in enumerate(found) if len(row["energies"]) < chosen.stop)
        k = ", ".join(f"{x:.6g}" for x in where.points[short % where.n_points])
        n = len(found[short]["energies"])
        raise SolverError(
            f"{operators.calc.source}: band {chosen.stop} is not there at k = ({k}): the threshold "
            f"of S left {n} of {operators.problem.size} states. Choose bands up to {fewest}, or "
            "pass a smaller s_threshold."
        )
    shape = (operators.n_channels, where.n_points)
    arrays = {
        name: np.stack([row[name][chosen] for row in found]).reshape(
            *shape, -1, *found[0][name].shape[1:]
        )
        for name in found[0]
    }
    return chosen.start + 1, arrays
