"""The options of the commands of `dock.response`: where in reciprocal space, and what all share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.results import Result
    from dock.states.job import Job
    from dock.states.kmesh import Reduction


_FIGURES = (".png", ".pdf", ".svg", ".eps", ".jpg", ".jpeg")
_OTHERS = (".txt", ".dat", ".csv", ".json", ".npy", ".npz", ".xml")


@dataclass(frozen=True)
class KPoints:
    """K-points as they were asked for on the command line: a list, a path, or a plane."""

    k: tuple[tuple[float, float, float], ...] = ()
    k_path: str | None = None
    points: int | None = None
    plane: tuple[Any, Any] | None = None
    at: tuple[float, float, float] | None = None
    extent: float | None = None

    def __post_init__(self) -> None:
        if self.plane is None and (self.at is not None or self.extent is not None):
            raise UsageError("--at and --extent belong to a plane: give --plane A B too.")
        if self.k and self.points is not None:
            raise UsageError("--points are those of --path or --plane, not of --k.")

    def asked(self, mesh: options.MeshOptions | None = None) -> str | None:
        """Return which of ``k``, ``path``, ``plane`` and ``mesh`` was given; None for nothing.

        `UsageError` for more than one.
        """
        given = {
            "k": bool(self.k),
            "path": self.k_path is not None,
            "plane": self.plane is not None,
            "mesh": mesh is not None and mesh.asked,
        }
        names = [name for name, there in given.items() if there]
        if len(names) > 1:
            raise UsageError(f"give one of {', '.join(f'--{name}' for name in names)}, not all.")
        return names[0] if names else None

    def require_drawn(
        self, plot: Path | None, mesh: options.MeshOptions | None, bands: str | None
    ) -> None:
        """Refuse a figure of states at a list or mesh, or on a plane of all bands."""
        kind = self.asked(mesh)
        if plot is None or kind in (None, "path"):
            return
        if kind != "plane":
            raise UsageError(f"--plot draws states on a path or a plane, not those of --{kind}.")
        if bands is None:
            raise UsageError("--plot draws one panel for each band of a plane: give --bands N..M.")

    def make(
        self,
        calc: Calculation,
        mesh: options.MeshOptions | None = None,
        *,
        at_most: Reduction = "none",
        default: str = "path",
    ) -> Any:
        """Return a list (n, 3), a `KPath`, a `KPlane` or a `KMesh`, reduced by `at_most`.

        `default` is what is taken where nothing was given.
        """
        from dock.states.kpath import make_path
        from dock.states.kplane import KPlane

        kind = self.asked(mesh) or default
        if kind == "k":
            return list(self.k) or [(0.0, 0.0, 0.0)]
        if kind == "plane":
            extent = 1.0 if self.extent is None else self.extent
            sides: Any = self.plane or (1, 2)
            settings: dict[str, Any] = {"at": self.at, "points": self.points, "extent": extent}
            if set(sides) & set("xyz"):
                return KPlane.cartesian(sides, calc.structure.reciprocal, **settings)
            return KPlane.of(sides, **settings)
        if kind == "mesh" and mesh is not None:
            return mesh.make(calc, at_most=at_most)
        return make_path(calc, self.k_path, points=self.points)


def k_options(
    *, k: bool = True, path: bool = True, plane: bool = True, cartesian: bool = False
) -> Callable[[options.Command], options.Command]:
    """Return a decorator that adds where in reciprocal space, as one `KPoints` named ``where``.

    With `cartesian` the sides of a plane may be x, y and z, too.

    A mesh has its own options (`mesh_options`); `KPoints.asked` and `KPoints.make` take it.
    """
    added = []
    if k:
        text = "A k-point, fractional. Repeat for several."
        about: dict[str, Any] = {"type": float, "nargs": 3, "metavar": "K1 K2 K3", "help": text}
        added.append(click.option("--k", "k", multiple=True, **about))
    if path:
        text = "A path: automatic, labels, or a file (K_PATH, KPOINTS, KPT)."
        added.append(click.option("--path", "k_path", metavar="auto|GMKG|FILE", help=text))
    if path or plane:
        texts = ["on the longest segment [default: 50]"] * path
        texts += ["along each side of a plane [default: 40]"] * plane
        added.append(
            click.option(
                "--points", type=click.IntRange(1), metavar="N", help=f"Points {', '.join(texts)}."
            )
        )
    if plane:
        added += [
            click.option(
                "--plane",
                type=click.Choice([*"123", *"xyz"]) if cartesian else click.IntRange(1, 3),
                nargs=2,
                metavar="A B",
                help="The plane along reciprocal vectors A and B (1, 2, 3), in this orientation"
                + ("; or along x, y, z." if cartesian else "."),
            ),
            click.option(
                "--at",
                type=float,
                nargs=3,
                metavar="K1 K2 K3",
                help="A point of the plane, its middle [default: 0 0 0].",
            ),
            click.option(
                "--extent",
                type=float,
                metavar="X",
                help="Sides of the plane in reciprocal vectors"
                + (", or 1/Å" * cartesian)
                + " [default: 1].",
            ),
        ]
    return options.grouped("where", KPoints, *added)


bands_option = click.option(
    "--bands", metavar="N..M", help="Bands N to M, counted from 1 [default: all]."
)
"""A range of bands; `dock.response.band_set.band_range` reads it."""

filled_bands_option = click.option(
    "--bands", metavar="N..M", help="Bands N to M, counted from 1 [default: the filled ones]."
)
"""The same where it stands for the filled bands."""


def tolerance_option(default: float) -> Callable[[options.Command], options.Command]:
    """Return the option of which energies count as one level."""
    positive = click.FloatRange(min=0, min_open=True)
    text = "Energies so near count as one level."
    return options.number_option("--tolerance", positive, default, "EV", text)


position_options = options.grouped(
    "positions", options.BasisOptions.of, options.basis_option, options.species_option
)
"""Adds the basis that positions are computed from; one `BasisOptions` named ``positions``.

With its radial functions `Operators.of(calc, position=True)` computes r where a run has none.
"""


@dataclass(frozen=True)
class Request:
    """What all responses are asked with: a run, its electrons, how it is solved, where it goes."""

    path: Path
    source: str | None
    solving: options.Solving
    run: Run
    positions: options.BasisOptions | None = None
    electrons: float | None = None
    s_threshold: float | None = None

    def read(self) -> Calculation:
        """Return the calculation, with radial functions where a basis is given."""
        from dock.converters import read

        if self.positions is None:
            return read(self.path, self.source)
        return self.positions.read(self.path, self.source)

    def job(self, result: type[Result], target: Path | None = None) -> tuple[Path, Job]:
        """Return where a result goes, which must be free, and its job.

        `UsageError` for a name that says of another kind of file.
        """
        named = self.run.output if target is None else target
        if named is not None:
            require_hdf5_name(named)
        target = self.run.target(self.path, result) if target is None else target
        return target, self.solving.job(target)

    def settings(self, job: Job) -> dict[str, Any]:
        """Return what every function of `dock.response` takes: how states are found."""
        return {"s_threshold": self.s_threshold, **self.run.settings(job)}


def require_hdf5_name(output: Path) -> None:
    """Refuse the name of a figure or of a text file for what is written as HDF5."""
    suffix = output.suffix.lower()
    if suffix in _FIGURES:
        raise UsageError(
            f"{output}: -o names the HDF5 file, {output.stem}.h5; a figure is drawn by --plot "
            f"{output.name}."
        )
    if suffix in _OTHERS:
        raise UsageError(
            f"{output}: -o names the HDF5 file, {output.stem}.h5 (a .json comes beside it), and "
            "--plot FILE a figure."
        )


def window_option(text: str) -> Callable[[options.Command], options.Command]:
    """Return the option of a figure's window; one that does not ascend is refused at once."""

    def checked(
        _: click.Context, __: click.Parameter, window: tuple[float, float] | None
    ) -> tuple[float, float] | None:
        from dock.post.energy_selection import Selection

        return Selection(window or None).window

    return options.window_option(text, callback=checked)


def request_options(
    output: str,
    *,
    kinds: str = "",
    positions: bool = False,
    electrons: bool = True,
    threshold: bool = True,
) -> Callable[[options.Command], options.Command]:
    """Return a decorator that adds the options which all responses have, as ``request``.

    Parameters
    ----------
    output, kinds
        See `dock.cli.options.run_options`.
    positions, electrons, threshold
        Whether the command has a basis for positions, electrons, and a threshold of S.
    """
    parts = [options.path_argument, options.from_option]
    parts += [position_options] * positions
    parts += [options.electrons_option] * electrons
    parts += [options.threshold_option] * threshold
    parts += [options.solving_options, options.run_options(output, kinds=kinds)]
    names = ("path", "source", "positions", "electrons", "s_threshold", "solving", "run")

    def decorate(command: options.Command) -> options.Command:
        @wraps(command)
        def wrapped(**kwargs: Any) -> Any:
            own = {name: kwargs.pop(name) for name in names if name in kwargs}
            return command(request=Request(**own), **kwargs)

        for option in reversed(parts):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate
