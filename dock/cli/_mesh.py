"""The options of k-meshes and occupations that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dock.errors import OutputError, UsageError

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.states.fermi_level import Method
    from dock.states.kmesh import KMesh, Reduction

__all__ = ["MeshOptions", "filling_options", "folder_of", "mesh_options", "refuse_existing"]

Command = TypeVar("Command", bound=Callable[..., Any])

_KINDS = ("fermi-dirac", "gaussian", "methfessel-paxton", "cold", "tetrahedra")


@dataclass(frozen=True)
class MeshOptions:
    """A k-mesh as it was asked for on the command line."""

    size: tuple[int, int, int] | None
    spacing: float | None
    centring: str
    shift: tuple[float, float, float] | None
    symmetry: Reduction
    tolerance: float

    def make(self, calc: Calculation, *, at_most: Reduction = "point-group") -> KMesh:
        """Return the mesh, reduced no further than `at_most`."""
        from dock.states.kmesh import make_mesh

        ranks: tuple[Reduction, ...] = ("none", "time-reversal", "point-group")
        reduction = min(self.symmetry, at_most, key=ranks.index)
        return make_mesh(
            calc,
            self.size,
            spacing=self.spacing,
            centring=self.shift or self.centring,  # type: ignore[arg-type]
            reduction=reduction,
            tolerance=self.tolerance,
        )


def mesh_options(command: Command) -> Command:
    """Add the options of a k-mesh; the command gets them as one `MeshOptions` named ``mesh``."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        names = ("mesh", "spacing", "centring", "shift", "symmetry", "symmetry_tolerance")
        values = [kwargs.pop(name) for name in names]
        return command(*args, mesh=MeshOptions(*values), **kwargs)

    options = [
        click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="Size of the k-mesh."),
        click.option(
            "--spacing", type=float, metavar="D", help="Distance of k-points in 1/Å, with 2π."
        ),
        click.option(
            "--centring",
            type=click.Choice(["gamma", "monkhorst-pack", "openmx"]),
            default="gamma",
            show_default=True,
            help="Where the mesh lies.",
        ),
        click.option(
            "--shift", type=float, nargs=3, metavar="S1 S2 S3", help="Shift in mesh steps instead."
        ),
        click.option(
            "--symmetry",
            type=click.Choice(["point-group", "time-reversal", "none"]),
            default="point-group",
            show_default=True,
            help="Symmetry that may reduce the mesh; it is checked on H.",
        ),
        click.option(
            "--symmetry-tolerance",
            type=float,
            default=1e-5,
            show_default=True,
            metavar="X",
            help="Deviation of H that still counts as symmetric, eV.",
        ),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def filling_options(default: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of occupations, given to the command as ``filling``.

    Parameters
    ----------
    default
        The kind when none is named.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            names = ("smearing", "width", "temperature", "order")
            filling = _filling(*[kwargs.pop(name) for name in names])
            return command(*args, filling=filling, **kwargs)

        options = [
            click.option(
                "--smearing",
                type=click.Choice(_KINDS),
                default=default,
                show_default=True,
                help="How levels are filled and broadened.",
            ),
            click.option("--width", type=float, metavar="EV", help="Width of the smearing, eV."),
            click.option(
                "--temperature", type=float, metavar="K", help="The same as k_B T [default: 300]."
            ),
            click.option(
                "--order", type=int, default=1, show_default=True, help="Of Methfessel–Paxton."
            ),
        ]
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def folder_of(path: Path) -> Path:
    """Return the folder beside whose content results are written."""
    return path if path.is_dir() else path.parent


def refuse_existing(targets: list[Path | None], *, overwrite: bool) -> None:
    """Say that a target exists before an hour is spent on computing it."""
    there = [target for target in targets if target is not None and target.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(map(str, there))}: exists already. Give --overwrite to replace it, or "
            "another name with -o."
        )


def _filling(kind: str, width: float | None, temperature: float | None, order: int) -> Method:
    from dock.states.smearing import BOLTZMANN_EV, Smearing

    if width is not None and temperature is not None:
        raise UsageError("give --width or --temperature, not both.")
    if kind == "tetrahedra":
        if width is not None or temperature is not None:
            raise UsageError("tetrahedra have no width: leave out --width and --temperature.")
        return "tetrahedra"
    if width is None:
        kelvin = temperature if temperature is not None else 300.0
        broad = 0.1 if kind != "fermi-dirac" and temperature is None else kelvin * BOLTZMANN_EV
        width = broad
    return Smearing(kind, width, order)  # type: ignore[arg-type]
