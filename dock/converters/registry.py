"""The registry of formats: found by name or by content, read and written through one door.

Formats are the built-in ones and those of the entry points ``dock.formats`` of installed packages;
a third party adds one with a single line of its ``pyproject.toml``.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.converters.format import Format, Marker, ReadOptions, Settings, WriteOptions, hand_over
from dock.core.calculation import Calculation
from dock.errors import DependencyError, FormatError, MissingDataError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from dock.converters.user_run import Restart

__all__ = [
    "BUILT_IN",
    "detect",
    "format_names",
    "get_format",
    "read",
    "require_restart",
    "resolve",
    "transfer",
    "without_matrices",
    "write",
]

BUILT_IN = {
    "deeph": ("dock.converters.deeph", "FORMAT"),
    "openmx": ("dock.converters.openmx", "FORMAT"),
    "openmx-restart": ("dock.converters.openmx", "RESTART"),
    "siesta": ("dock.converters.siesta", "FORMAT"),
    "abacus": ("dock.converters.abacus", "FORMAT"),
    "aims": ("dock.converters.aims", "FORMAT"),
    "aims-warm-start": ("dock.converters.aims", "WARM_START"),
    "cp2k": ("dock.converters.cp2k", "FORMAT"),
    "pyscf": ("dock.converters.pyscf", "FORMAT"),
    "deeph-legacy": ("dock.converters.deeph_legacy", "FORMAT"),
    "qe": ("dock.converters.qe", "FORMAT"),
    "qe-folder": ("dock.converters.qe", "FOLDER"),
    "qe-orbitals": ("dock.planewave.format", "FORMAT"),  # by name: it stands above this package
    "npz": ("dock.converters.npz", "FORMAT"),
    "petsc": ("dock.converters.petsc", "FORMAT"),
    "wannier90": ("dock.converters.wannier90", "FORMAT"),
    "sisl": ("dock.converters.sisl", "FORMAT"),
    "species-h5": ("dock.converters.species_h5", "FORMAT"),
}
"""Name → module and attribute of each built-in format, in the order in which they are tried."""

RESTARTS = ("dock.restart", "write_restart")
"""What writes a restart: known by name, as formats are, for it stands above this package."""

_log = logging.getLogger("dock")


@cache
def plugins() -> dict[str, EntryPoint]:
    """Return the formats that other packages bring, by name."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="dock.formats")}


def format_names() -> tuple[str, ...]:
    """Return the names of all formats: the built-in ones, then those of plug-ins."""
    return (*BUILT_IN, *(name for name in plugins() if name not in BUILT_IN))


def _readable() -> list[str]:
    """Return the names of the formats that are read."""
    names = []
    for name in format_names():
        with contextlib.suppress(DependencyError, UsageError):
            names += [name] if get_format(name).read is not None else []
    return names


def _named(module: str, attribute: str) -> Any:
    return getattr(importlib.import_module(module), attribute)


@cache
def get_format(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    UsageError
        When no format has that name; the message lists those there are.
    DependencyError
        When a plug-in cannot be imported.
    """
    if name in BUILT_IN:
        entry: Format = _named(*BUILT_IN[name])
        return entry
    point = plugins().get(name)
    if point is None:
        known = ", ".join(format_names())
        raise UsageError(f"there is no format '{name}'. Known: {known}. See: dock formats")
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise DependencyError(
            f"the plug-in of format '{name}' cannot be loaded: {error}"
        ) from error
    if not isinstance(loaded, Format):
        raise UsageError(f"the plug-in of format '{name}' is no dock Format but {type(loaded)}.")
    return loaded


def detect(path: str | Path, format: str | None = None) -> tuple[Format, Path] | None:  # noqa: A002
    """Return the format, of all or the given one, that recognises a path, with its main path."""
    path = Path(path)
    if format is not None:
        entry = get_format(format)
        entry.require_reader()
        main = entry.detect(path)
        return None if main is None else (entry, main)
    for name in format_names():
        try:
            candidate = get_format(name)
        except (DependencyError, UsageError) as error:  # a plug-in that is broken
            _log.warning("%s", error)
            continue
        main = candidate.detect(path)
        if main is not None:
            return candidate, main
    return None


def without_matrices(path: str | Path, format: str | None = None) -> Format | None:  # noqa: A002
    """Return the format, of all or the given one, of a run whose matrix files are not there."""
    path = Path(path)
    for name in format_names() if format is None else (format,):
        with contextlib.suppress(DependencyError, UsageError, OSError):
            entry = get_format(name)
            if entry.read is not None and entry.traces(path):
                return entry
    return None


def resolve(path: str | Path, format: str | None = None) -> tuple[Format, Path]:  # noqa: A002
    """Return the format and main path of one run, given or detected.

    A run without matrices is one too: reading it says which file is missing, and what makes it.

    Raises
    ------
    MissingDataError
        When nothing is there.
    FormatError
        When no format, or not the one given, recognises the content.
    """
    path = Path(path)
    if not path.exists():
        raise MissingDataError("the input", path, "There is no such file or folder.")
    recognised = detect(path, format)
    if recognised is None and (entry := without_matrices(path, format)) is not None:
        return entry, path
    if recognised is None and format is not None:
        entry = get_format(format)
        raise FormatError(path, f"no {entry.title} is recognised here", fix=entry.notes or None)
    if recognised is None:
        known = ", ".join(_readable())
        raise FormatError(
            path,
            "the content is not recognised",
            expected=f"a run of one of: {known}",
            fix="Pass format=NAME, or the path of the run's main file.",
        )
    return recognised


def require_restart(entry: Format) -> Restart:
    """Return how a format's code starts from matrices; a UsageError where it does not.

    The error names the formats that do.
    """
    if entry.restart is not None:
        return entry.restart
    able = []
    for name in format_names():
        with contextlib.suppress(DependencyError, UsageError):
            able += [name] if get_format(name).restart is not None else []
    density = ""
    if "like" in entry.settings:
        density = (
            f"'{entry.name}' starts from a charge density: make one beside the matrices with dock "
            "charge-density, and convert the folder with source='qe-folder'. "
        )
    raise UsageError(
        f"the format '{entry.name}' has no restart from matrices. {density}Those that have one: "
        f"{', '.join(able)}."
    )


def read(
    path: str | Path,
    format: str | None = None,  # noqa: A002 - the name in the contract
    *,
    basis: str | Path | None = None,
    settings: Settings = None,
) -> Calculation:
    """Read one run of any code.

    Parameters
    ----------
    path
        The run's folder or main file.
    format
        Name of the format; recognised by content when left out.
    basis
        Folder with the code's basis files, where the run lacks them. A plane-wave run is projected
        onto that basis.
    settings
        What only that format's reader understands; see `Format.read_settings`.

    Returns
    -------
    Calculation
        Its matrices are read when they are asked for. What the reader noted is in its `notes`; a
        run that did not converge or finish is said in the log too.

    Examples
    --------
    >>> read("fixtures/openmx/si").spin.value
    'none'
    """
    entry, main = resolve(path, format)
    if basis is not None and entry.with_basis:
        entry = get_format(entry.with_basis)
    calc = entry.load_main(main, ReadOptions.of(basis, settings))
    if calc.unsound:
        _log.warning("%s: %s", main, calc.unsound)
    return calc


def write(
    calc: Calculation,
    path: str | Path,
    format: str = "deeph",  # noqa: A002 - the name in the contract
    options: WriteOptions | None = None,
    *,
    settings: Settings = None,
    overwrite: bool = False,
    allow_lossy: bool = False,
    like: str | Path | None = None,
    marker: Marker | None = None,
) -> list[Path]:
    """Write a calculation in any format into a folder, made if need be; return the files written.

    `settings`, `overwrite`, `allow_lossy` and `like` are short for these fields of the `options`;
    the `marker` is a small file that goes along. With the option ``basis``, what a format has a
    place for and two-centre integrals give is computed where it is missing (`Format.completes`).
    With ``like``, the folder or input of a user's own run, what is written is that run's restart
    (`dock.restart`).

    Raises
    ------
    LossError
        When the format cannot hold something; no file is opened then.
    OutputError
        When a target exists or cannot be written.
    """
    entry = get_format(format)
    wanted = (options or WriteOptions()).completed(
        settings, overwrite=overwrite, allow_lossy=allow_lossy, like=like
    )
    if wanted.like is not None:
        files: list[Path] = _named(*RESTARTS)(calc, path, entry, wanted, marker=marker)
        return files
    if entry.completes and wanted.basis is not None:
        from dock.converters.two_centre import with_two_centres

        calc = with_two_centres(calc, entry.completes, wanted.basis, wanted.settings)
    return entry.save(calc, path, wanted, marker=marker)


def transfer(
    source: Path,
    source_format: str,
    path: str | Path,
    format: str = "deeph",  # noqa: A002 - the name in the contract
    options: WriteOptions | None = None,
    *,
    marker: Marker | None = None,
) -> list[Path]:
    """Write what a run without orbitals has, given by its main path, into another format.

    The rest is as for `write`.

    Raises
    ------
    UsageError
        When the run's format does not go to that one, or matrices were asked for.
    OutputError
        When a target exists or cannot be written.
    """
    options = options or WriteOptions()
    writer = get_format(source_format).transfer_to(format)
    if writer is None:
        raise UsageError(f"the format '{source_format}' has matrices: read it and write them.")
    if options.quantities is not None:
        raise UsageError(f"{source}: the format '{source_format}' has no matrices to choose from.")
    entry = get_format(format)
    entry.check_settings(options.settings, entry.settings)
    return hand_over(path, options, lambda folder: writer(source, folder, options), marker)
