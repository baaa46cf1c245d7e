"""pw.x's ``.save`` folder: a charge density written into it, and what it holds in words."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dock.converters.qe.charge_density_dat import DAT, HDF5, write_start
from dock.converters.qe.charge_density_h5 import GridDensity, read_grid
from dock.converters.qe.data_file_schema import (
    SCHEMA,
    PlaneWaveRun,
    describe_structure,
    find_save,
    read_run,
)
from dock.converters.qe.density import PlaneWaveDensity, from_grid
from dock.core.spin import Spin
from dock.errors import LossError, UsageError
from dock.io.files import folder_transaction

__all__ = ["describe_run", "fill_save", "require_cutoff", "save_files", "to_save"]

_log = logging.getLogger("dock")
_LARGEST_CUTOFF = 1e6
_NORM_LIMIT = 1e-3  # relative error of the number of electrons above which nothing is written
_NORM_KEPT = 1e-7  # and up to which nothing is scaled: neither does pw.x
_SPIN_PARTS = {Spin.NONE: (1,), Spin.COLLINEAR: (2,), Spin.NONCOLLINEAR: (1, 4)}


def save_files(path: Path) -> list[Path]:
    """Return the files that decide whether a run has changed."""
    return [file for name in (SCHEMA, DAT, HDF5) if (file := path / name).is_file()]


def describe_run(save: Path) -> dict[str, Any]:
    """Return structure, levels and k-points of a ``.save`` folder.

    Examples
    --------
    >>> found = describe_run(Path("fixtures/qe/si/si.save"))
    >>> found["formula"], found["n_kpoints"], found["n_bands"]
    ('Si2', 8, 8)
    """
    run = read_run(save)
    return {
        **describe_structure(run.structure),
        "spin": run.spin.value,
        "fermi_level_eV": run.fermi_level,
        "n_electrons": run.n_electrons,
        "n_kpoints": len(run.k_frac),
        "n_bands": run.n_bands,
        "lowest_level_eV": float(run.levels.min()),
        "highest_level_eV": float(run.levels.max()),
        "fft_grid": list(run.fft_grid),
        "ecutrho_hartree": run.ecutrho_hartree,
        "origin": f"Quantum ESPRESSO {run.version}".rstrip(),
        **({"note": run.unsound} if run.unsound else {}),
    }


def to_save(
    folder: str | Path,
    save: str | Path,
    *,
    like: str | Path | None = None,
    ecutrho_hartree: float | None = None,
    kinds: Sequence[str] = ("dat", "hdf5"),
    overwrite: bool = False,
) -> list[Path]:
    """Write a charge density into a ``.save`` folder from which pw.x starts; return the files.

    Run pw.x with ``startingpot = 'file'`` in ``&ELECTRONS`` and the same cell and cut-off.

    Parameters
    ----------
    folder, save
        A folder with ``charge_density.h5``, or the file; and the target
        ``<outdir>/<prefix>.save``, made if need be.
    like
        ``.save`` folder of a run with the same cell and cut-off. Its XML file is copied along,
        which ``calculation = 'bands'`` and ``'nscf'`` need.
    ecutrho_hartree
        Cut-off where neither `like` nor the density file says it.
    kinds
        ``dat`` for a pw.x built without HDF5, ``hdf5`` for one with; each reads only its own.

    Raises
    ------
    LossError
        When the density lacks spin parts, or holds another number of electrons than the run by
        more than 0.1 %: pw.x would go on without magnetisation, or rescale it, in silence. Less is
        rescaled here, and said.
    """
    target = Path(save)
    with folder_transaction(target, overwrite=overwrite) as temporary:
        written = fill_save(
            Path(folder), temporary, like=like, ecutrho_hartree=ecutrho_hartree, kinds=kinds
        )
        if find_save(target) is not None:  # its own XML file stays
            written = [file for file in written if file.name != SCHEMA]
            (temporary / SCHEMA).unlink(missing_ok=True)
    return [target / file.name for file in written]


def fill_save(
    grid_file: Path,
    folder: Path,
    *,
    like: str | Path | None,
    ecutrho_hartree: float | None,
    kinds: Sequence[str] = ("dat", "hdf5"),
) -> list[Path]:
    """Write what `to_save` describes into an empty folder; the caller hands it over."""
    if not kinds or not set(kinds) <= {"dat", "hdf5"}:
        raise UsageError(f"the kinds of density file are dat and hdf5, found {list(kinds)}.")
    run = None if like is None else read_run(like)
    grid = read_grid(grid_file)
    if run is not None:
        _require_complete(grid, run)
    density = from_grid(grid, run, ecutrho_hartree=ecutrho_hartree)
    if run is not None:
        density = _with_norm(density, run)
    write_start(folder, density, kinds)
    if run is not None:
        shutil.copyfile(run.source, folder / SCHEMA)
    return sorted(folder.iterdir())


def _with_norm(density: PlaneWaveDensity, run: PlaneWaveRun) -> PlaneWaveDensity:
    """Return the density with the run's number of electrons, as pw.x would make it, and say so."""
    ratio = run.n_electrons / density.n_electrons
    if abs(ratio - 1) <= _NORM_KEPT:
        return density
    _log.warning(
        "charge density: scaled from %.6f to %g electrons, as pw.x would do",
        density.n_electrons,
        run.n_electrons,
    )
    return replace(density, values=density.values * ratio)


def _require_complete(grid: GridDensity, run: PlaneWaveRun) -> None:
    """Refuse what pw.x would silently repair or drop."""
    if abs(grid.n_electrons - run.n_electrons) > _NORM_LIMIT * run.n_electrons:
        raise LossError(
            f"the density holds {grid.n_electrons:.6f} electrons, the run {run.source} has "
            f"{run.n_electrons:g}. pw.x would rescale it in silence: check its unit and cell."
        )
    wanted = _SPIN_PARTS[run.spin]
    if len(grid.values) not in wanted:
        raise LossError(
            f"the density has {len(grid.values)} components, a run with {run.spin.value} spin has "
            f"{' or '.join(map(str, wanted))}. pw.x would start without the rest in silence."
        )


def require_cutoff(text: str | None) -> float | None:
    """Return the setting ``ecutrho_hartree``; None where it is not given, refused if no energy."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < _LARGEST_CUTOFF:
        raise UsageError(
            "the setting ecutrho_hartree is an energy in Hartree, half of pw.x's ecutrho; "
            f"found '{text}'."
        )
    return value
