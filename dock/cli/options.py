"""The options of all commands, each declared once; groups reach a command as one argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from dock.cli.runner import Run, show_log
from dock.cli.wording import print_pause
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.converters.batch import BatchOptions
    from dock.converters.format import WriteOptions
    from dock.core.calculation import Calculation
    from dock.grid.grid import Grid
    from dock.states.fermi_level import Method
    from dock.states.job import Job
    from dock.states.kmesh import KMesh, Reduction
    from dock.states.ranks import Ranks

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def choice(
    name: str, words: Sequence[str], default: str, text: str
) -> Callable[[Command], Command]:
    """Return an option that is one of some words."""
    kinds = click.Choice(words)
    return click.option(name, type=kinds, default=default, show_default=True, help=text)


def number_option(
    name: str, kind: Any, default: float, metavar: str, text: str
) -> Callable[[Command], Command]:
    """Return an option that is a number of a kind, whose default the help shows."""
    about: dict[str, Any] = {"metavar": metavar, "help": text, "show_default": True}
    return click.option(name, type=kind, default=default, **about)


path_argument = click.argument("path", default=".", type=PATH)
from_option = click.option(
    "--from", "source", metavar="FORMAT", help="Format; default: recognised."
)
to_option = click.option(
    "--to", "target", metavar="FORMAT", default="deeph", help="Target [default: deeph]."
)
basis_option = click.option(
    "--basis",
    type=PATH,
    metavar="DIR",
    help="Folder of basis files: .ion, .pao, .orb, CP2K's, or DeepH's species_*.h5, El.h5.",
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A format's own setting."
)
_SPECIES: dict[str, Any] = {
    "multiple": True,
    "metavar": "X=BASIS",
    "help": "OpenMX, CP2K: basis of a species, C=C6.0-s2p2d1. Repeat for each.",
}
species_option = click.option("--species", **_SPECIES)
species_or_set_option = click.option("--species", "--set", "species", **_SPECIES)
"""The same where ``--set``, which has another meaning elsewhere, was its only name."""
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line instead of a table."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
jobs_option = click.option(
    "-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use]."
)
electrons_option = click.option(
    "--electrons", type=float, metavar="N", help="Electrons per cell, where unknown."
)
fermi_option = click.option("--fermi", type=float, metavar="E", help="Fermi level in eV, absolute.")
scheme_option = choice(
    "--scheme", ["mulliken", "lowdin"], "mulliken", "How the charge of two orbitals is divided."
)
mesh_option = click.option(
    "--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="Size of the k-mesh."
)
threshold_option = click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)


def spacing_option(default: str = "") -> Callable[[Command], Command]:
    """Return the option of the distance of k-points; its default in words, if there is one."""
    text = "Distance of k-points in 1/Å, with 2π" + (f" [default: {default}]." if default else ".")
    return click.option("--spacing", type=float, metavar="D", help=text)


def window_option(
    text: str = "Energies about the Fermi level, eV.", **settings: Any
) -> Callable[[Command], Command]:
    """Return the option of an energy window, with further settings of click's."""
    about: dict[str, Any] = {"type": float, "nargs": 2, "metavar": "EMIN EMAX", "help": text}
    return click.option("--window", **about, **settings)


zero_option = choice(
    "--zero", ["fermi", "vbm", "absolute"], "fermi", "What energies of the figure count from."
)
style_option = click.option(
    "--style",
    multiple=True,
    metavar="NAME",
    help="Look: one-column, two-column, dark, or a style of matplotlib. Repeat to combine.",
)


def k_path_options(command: Command) -> Command:
    """Add the options of a k-path: ``k_path`` and ``points``."""
    command = click.option(
        "--points", type=int, metavar="N", help="Points on the longest segment [default: 50]."
    )(command)
    return click.option(
        "--path",
        "k_path",
        default="auto",
        show_default=True,
        metavar="auto|GMKG|FILE",
        help="The path: automatic, labels, or a file (K_PATH, KPOINTS, KPT).",
    )(command)


def states_options(command: Command) -> Command:
    """Add the options of states about an energy: ``states`` and ``around``."""
    command = click.option(
        "--around", type=float, default=0.0, metavar="E", help="Energy for --states [default: 0]."
    )(command)
    return click.option(
        "--states", type=int, metavar="N", help="Only the N states nearest to --around."
    )(command)


def grouped(
    name: str, make: Callable[..., Any], *options: Callable[..., Any]
) -> Callable[[Command], Command]:
    """Return a decorator: the values of some options reach the command as one argument."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            values = {key: kwargs.pop(key) for key in keys}
            return command(*args, **{name: make(**values)}, **kwargs)

        for option in reversed(options):
            wrapped = option(wrapped)
        declared: list[click.Parameter] = wrapped.__click_params__  # type: ignore[attr-defined]
        keys = [option.name for option in declared[-len(options) :]]
        return wrapped  # type: ignore[return-value]

    return decorate


def run_options(
    output: str | None, *, kinds: str = "", figure: bool = True, jobs: bool = True
) -> Callable[[Command], Command]:
    """Return a decorator that adds where a result goes and how the command runs, as ``run``.

    Parameters
    ----------
    output
        The default of ``-o`` in words; None for a command that saves nothing.
    kinds
        What else may be named with ``-o``, in words.
    figure, jobs
        Whether the command draws, and whether it has threads.
    """
    options = []
    if output is not None:
        text = f"{kinds} [default: {output}]".lstrip()
        options.append(click.option("-o", "--output", type=PATH, help=text))
    if figure:
        text = "Figure: .png .pdf .svg"
        options.append(click.option("--plot", type=PATH, metavar="FILE", help=text))
        options.append(style_option)
    if options:
        options.append(overwrite_option)
    if jobs:
        options.append(jobs_option)

    def make(**values: Any) -> Run:
        run = Run(**values)
        show_log(quiet=run.quiet)
        return run

    return grouped("run", make, *options, json_option, quiet_option)


@dataclass(frozen=True)
class Projection:
    """What states are resolved by, as it was asked for: ``species,l`` or ``Mo-d,S-p``, or None."""

    fields: str | None
    scheme: Any

    def __post_init__(self) -> None:
        if self.fields is not None:
            from dock.post.projections import parse_projection

            parse_projection(self.fields)


def projection_options(text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds ``--project`` and ``--scheme``, as ``project``."""
    fields = click.option("--project", "fields", metavar="WHAT", help=text)
    return grouped("project", Projection, fields, scheme_option)


@dataclass(frozen=True)
class Solving:
    """How eigenproblems are solved, as it was asked for on the command line."""

    solver: str
    keep: bool
    shard: tuple[int, int] | None
    dry_run: bool
    removal: Any
    ranks: Ranks | None

    def job(self, target: Path) -> Job:
        """Return the job of a result: its states are kept beside it until it stands."""
        from dock.states.choice import choose
        from dock.states.job import Job

        choose(self.solver)  # a name that there is not is refused before anything is read
        folder = target.with_name(f".{target.name}.kept")
        ranks: dict[str, Any] = {} if self.ranks is None else {"ranks": self.ranks}
        about = (self.solver, folder, self.shard, self.dry_run, self.keep)
        return Job(*about, removal=self.removal, **ranks)


def solving_options(command: Command) -> Command:
    """Add the options of solvers; the command gets them as one `Solving` named ``solving``.

    What a job says that ends before its result is printed here; and processes of MPI begin and end
    here: all of them run the command, or with a solver that is spread over them the first alone.
    """

    @wraps(command)
    def wrapped(*args: Any, solver: str, mpi: bool, teams: int, **kwargs: Any) -> Any:
        from dock.cli.ranks import led, together

        if not mpi:
            return _ended(command, *args, solving=_solving(solver, None, kwargs), **kwargs)
        if solver == "slepc":
            with led(teams) as leads:
                if leads:
                    _ended(command, *args, solving=_solving(solver, None, kwargs), **kwargs)
            return None
        with together() as ranks:
            kwargs["quiet"] = kwargs["quiet"] or not ranks.is_root
            return _ended(command, *args, solving=_solving(solver, ranks, kwargs), **kwargs)

    options = (
        click.option(
            "--solver",
            default="auto",
            show_default=True,
            metavar="auto|dense|sparse|slepc|layers",
            help="How states are found; see the page Large systems.",
        ),
        choice(
            "--s-removal",
            ["project", "orbital", "window"],
            "project",
            "What --s-threshold removes: combinations of orbitals, orbitals, or states.",
        ),
        click.option("--dry-run", is_flag=True, help="Say solver, time and memory, and no more."),
        click.option("--shard", metavar="I/N", help="Do only part I (from 0) of N parts."),
        click.option(
            "--mpi", is_flag=True, help="Share the work among the processes of mpirun or srun."
        ),
        click.option(
            "--teams",
            type=click.IntRange(1),
            default=1,
            metavar="N",
            help="With --mpi --solver slepc: teams of processes, each with a k-point of its own.",
        ),
        click.option("--keep", is_flag=True, help="Keep the k-points beside the result after it."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def _solving(solver: str, ranks: Ranks | None, values: dict[str, Any]) -> Solving:
    """Return the options of solvers, and take them off the values of a command."""
    names = ("keep", "shard", "dry_run", "s_removal")
    keep, shard, dry_run, removal = (values.pop(name) for name in names)
    return Solving(solver, keep, parse_shard(shard), dry_run, removal, ranks)


def _ended(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a command; what its job says that ends before its result is printed."""
    from dock.states.job import Pause

    try:
        return command(*args, **kwargs)
    except Pause as pause:
        ranks = kwargs["solving"].ranks
        if ranks is None or ranks.is_root:
            print_pause(pause.text, pause.facts, as_json=kwargs["as_json"])
        return None


@dataclass(frozen=True)
class MeshOptions:
    """A k-mesh as it was asked for on the command line."""

    mesh: tuple[int, int, int] | None
    spacing: float | None
    centring: str
    shift: tuple[float, float, float] | None
    symmetry: Reduction
    symmetry_tolerance: float

    @property
    def asked(self) -> bool:
        """Whether a size or a spacing was given."""
        return self.spacing is not None or self.mesh is not None

    def make(
        self, calc: Calculation, *, at_most: Reduction = "point-group", spacing: float | None = None
    ) -> KMesh:
        """Return the mesh, reduced no further than `at_most`; `spacing` is for none asked for."""
        from dock.states.kmesh import make_mesh

        ranks: tuple[Reduction, ...] = ("none", "time-reversal", "point-group")
        return make_mesh(
            calc,
            self.mesh,
            spacing=self.spacing if self.asked else spacing,
            centring=self.shift or self.centring,  # type: ignore[arg-type]
            reduction=min(self.symmetry, at_most, key=ranks.index),
            tolerance=self.symmetry_tolerance,
        )


_DEVIATION = "Deviation of H that still counts as symmetric, eV."

mesh_options = grouped(
    "mesh",
    MeshOptions,
    mesh_option,
    spacing_option(),
    choice("--centring", ["gamma", "monkhorst-pack", "openmx"], "gamma", "Where the mesh lies."),
    click.option(
        "--shift", type=float, nargs=3, metavar="S1 S2 S3", help="Shift in mesh steps instead."
    ),
    choice(
        "--symmetry",
        ["point-group", "time-reversal", "none"],
        "point-group",
        "Symmetry that may reduce the mesh; it is checked on H.",
    ),
    number_option("--symmetry-tolerance", float, 1e-5, "X", _DEVIATION),
)
"""Adds the options of a k-mesh; the command gets them as one `MeshOptions` named ``mesh``."""


@dataclass(frozen=True)
class BasisOptions:
    """The folder of basis files as it was asked for on the command line."""

    basis: Path | None
    strings: dict[str, str]

    @classmethod
    def of(cls, *, species: Sequence[str], **others: Any) -> Self:
        """Return the options as given; a wrong one is refused before any file is looked at."""
        return cls(strings=parse_settings(species, "--species"), **others)

    def read(self, path: Path, source: str | None) -> Calculation:
        """Return a calculation with the radial functions of its orbitals where a basis is given."""
        from dock.grid.grid import read_with_radials

        return read_with_radials(path, source, basis=self.basis, strings=self.strings)


@dataclass(frozen=True)
class GridOptions(BasisOptions):
    """A grid in space as it was asked for on the command line, and the basis on it."""

    shape: tuple[int, int, int] | None
    spacing: float | None

    @property
    def asked(self) -> bool:
        """Whether any of it was given."""
        return self.basis is not None or self.shape is not None or self.spacing is not None

    def make(self, calc: Calculation) -> Grid:
        """Return the grid of a calculation's cell; its basis must have radial functions."""
        from dock.grid.grid import make_grid, require_radials

        require_radials(calc.basis, calc.source)
        return make_grid(calc.structure, self.shape, spacing=self.spacing)


grid_options = grouped(
    "grid",
    GridOptions.of,
    basis_option,
    species_or_set_option,
    click.option(
        "--grid", "shape", type=int, nargs=3, metavar="N1 N2 N3", help="Numbers of grid points."
    ),
    click.option("--spacing", type=float, metavar="X", help="Distance of grid points, Å [0.1]."),
)
"""Adds the options of a grid in space; the command gets them as one `GridOptions`, ``grid``."""

_KINDS = ("fermi-dirac", "gaussian", "methfessel-paxton", "cold", "tetrahedra")


def filling_options(default: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of occupations, given to the command as ``filling``.

    `default` is the kind when none is named.
    """
    return grouped(
        "filling",
        _filling,
        choice("--smearing", _KINDS, default, "How levels are filled and broadened."),
        click.option(
            "--width", type=float, metavar="EV", help="w of exp(−x²/w²), √2 σ, or k_B T; eV."
        ),
        click.option(
            "--temperature", type=float, metavar="K", help="The same as k_B T [default: 300]."
        ),
        click.option(
            "--order", type=int, default=1, show_default=True, help="Of Methfessel–Paxton."
        ),
    )


def _filling(smearing: str, width: float | None, temperature: float | None, order: int) -> Method:
    from dock.states.smearing import BOLTZMANN_EV, Smearing

    if width is not None and temperature is not None:
        raise UsageError("give --width or --temperature, not both.")
    if smearing == "tetrahedra":
        if width is not None or temperature is not None:
            raise UsageError("tetrahedra have no width: leave out --width and --temperature.")
        return "tetrahedra"
    if width is None:
        kelvin = temperature if temperature is not None else 300.0
        thermal = smearing == "fermi-dirac" or temperature is not None
        width = kelvin * BOLTZMANN_EV if thermal else 0.1
    return Smearing(smearing, width, order)  # type: ignore[arg-type]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Return (i, n) of ``i/n``."""
    if text is None:
        return None
    first, slash, second = text.partition("/")
    numbers = first.isdecimal() and second.isdecimal()
    if not slash or not numbers or int(first) >= int(second):
        raise UsageError(f"--shard is i/n with 0 ≤ i < n, such as 0/8; found '{text}'.")
    return int(first), int(second)


def parse_settings(pairs: Sequence[str], option: str = "--set") -> dict[str, str]:
    """Return ``name=value`` pairs of an option as a dictionary."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes name=value, found '{pair}'.")
        settings[name.strip()] = value.strip()
    return settings


def parse_atoms(text: str, n_atoms: int) -> list[int]:
    """Return atom numbers from 0 of a text such as ``1-12,15``, which counts from 1.

    Examples
    --------
    >>> parse_atoms("1-3,6", 8)
    [0, 1, 2, 5]
    """
    atoms: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        last = last if dash else first
        good = first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= n_atoms
        if not good:
            raise UsageError(
                f"atoms are numbers and ranges from 1 to {n_atoms}, such as 1-3,6; found '{part}'."
            )
        atoms |= set(range(int(first) - 1, int(last)))
    return sorted(atoms)


def _writing(
    matrices: str | None,
    single_precision: bool,
    basis: Path | None,
    species: tuple[str, ...],
    potential: str | None,
    quality: bool,
    split_hkb: bool,
    settings: tuple[str, ...],
    allow_lossy: bool,
    like: Path | None,
) -> WriteOptions:
    """Return what is written; options of one format alone become its settings."""
    from dock.converters.format import WriteOptions
    from dock.io.text import without_folders

    own = parse_settings(settings)
    if species:
        own["orbitals"] = ",".join(species)
    if potential is not None:
        own["potential"] = potential
    if quality:
        own["quality"] = "wavefunctions"
    if split_hkb:
        own["layout"] = "split-hkb"
    return WriteOptions(
        quantities=tuple(part.strip() for part in matrices.split(",")) if matrices else None,
        single_precision=single_precision,
        allow_lossy=allow_lossy,
        basis=basis,
        command=" ".join(["dock", *without_folders(sys.argv[1:])]),
        settings=own,
        like=like,
    )


writing_options = grouped(
    "writing",
    _writing,
    click.option(
        "--matrices",
        metavar="H,S,…",
        help="Only these: S, H, DM, EDM, T, r, grad, dT, H0, Hinit, dHdE, p.",
    ),
    click.option("--single-precision", is_flag=True, help="Store 32-bit numbers (half the size)."),
    basis_option,
    species_option,
    click.option("--potential", metavar="WHAT", help="Plane waves: vsc (or its path), or density."),
    click.option(
        "--quality", is_flag=True, help="Plane waves: also the spillage of the run's states."
    ),
    click.option("--split-hkb", is_flag=True, help="Spin–orbit H as hamiltonian.h5 and hkb.h5."),
    settings_option,
    click.option(
        "--allow-lossy", is_flag=True, help="Write even what the target cannot hold fully."
    ),
    click.option(
        "--like",
        type=PATH,
        metavar="RUN",
        help="Restart of your own run, its folder or input: siesta, openmx, abacus, aims.",
    ),
)
"""Adds what is written and how; the command gets it as one `WriteOptions` named ``writing``."""


def _batch(jobs: int | None, mpi: bool, shard: str | None) -> BatchOptions:
    from dock.converters.batch import BatchOptions

    return BatchOptions(jobs, mpi, parse_shard(shard))


batch_options = grouped(
    "batch",
    _batch,
    click.option("-j", "--jobs", type=int, help="Worker processes [default: as the data need]."),
    click.option(
        "--mpi", is_flag=True, help="Share the work among the processes of mpirun or srun."
    ),
    click.option("--shard", metavar="I/N", help="Do only part I (from 0) of N parts."),
)
"""Adds how many runs are gone about; the command gets it as `BatchOptions` named ``batch``."""
