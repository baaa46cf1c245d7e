"""A ``.save`` folder to a folder in the style of the unified format, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.deeph.poscar import format_poscar
from dock.converters.qe.charge_density_dat import DAT, HDF5, read_density, write_dat, write_hdf5
from dock.converters.qe.charge_density_h5 import GRID_FILE, GridDensity, read_grid, write_grid
from dock.converters.qe.data_file_schema import SCHEMA, PlaneWaveRun, find_save, read_run
from dock.converters.qe.density import (
    PlaneWaveDensity,
    density_from_grid,
    g_sphere,
    natural_grid,
)
from dock.core.spin import Spin
from dock.errors import FormatError, LossError, MissingDataError, UsageError
from dock.io.files import folder_transaction, write_text
from dock.io.hdf5 import new_hdf5
from dock.units import QE

__all__ = [
    "BANDS_FILE",
    "RUN_FILE",
    "fill_folder",
    "fill_save",
    "from_grid",
    "to_folder",
    "to_grid",
    "to_save",
]

RUN_FILE, BANDS_FILE = "plane_wave.json", "eigval.h5"
_NORM_LIMIT = 1e-3  # relative error of the number of electrons above which nothing is written
_SPIN_PARTS = {Spin.NONE: (1,), Spin.COLLINEAR: (2,), Spin.NONCOLLINEAR: (1, 4)}


def to_folder(save: str | Path, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Convert a ``.save`` folder: structure, levels and charge density.

    Written are ``POSCAR``, ``plane_wave.json`` (Fermi level, electrons, spin, cut-off),
    ``eigval.h5`` (k-points and bands) and, where the run has a density, ``charge_density.h5``.
    There are no orbitals, hence no ``info.json`` and no matrices.

    Parameters
    ----------
    save
        The ``.save`` folder of pw.x, or the run folder that holds it.
    folder
        Target; made if need be.
    overwrite
        Replace files that exist.

    Returns
    -------
    list of Path
        The files written.
    """
    target = Path(folder)
    with folder_transaction(target, overwrite=overwrite) as temporary:
        written = fill_folder(Path(save), temporary)
    return [target / file.name for file in written]


def fill_folder(save: Path, folder: Path) -> list[Path]:
    """Write what `to_folder` describes into an empty folder; the caller hands it over."""
    run = read_run(save)
    source = Path(run.source).parent
    density = None
    if any((source / name).is_file() for name in (DAT, HDF5)):
        density = to_grid(read_density(source), run)
    order = run.structure.element_order
    poscar = format_poscar(run.structure.select(order), "from pw.x, written by dock")
    write_text(folder / "POSCAR", poscar)
    write_text(folder / RUN_FILE, json.dumps(_facts(run, order)) + "\n")
    _write_bands(folder / BANDS_FILE, run)
    if density is not None:
        write_grid(folder / GRID_FILE, density)
    return sorted(folder.iterdir())


def to_grid(density: PlaneWaveDensity, run: PlaneWaveRun | None = None) -> GridDensity:
    """Return the density on pw.x's own grid, or on the smallest one that holds it.

    Parameters
    ----------
    density
        What `read_density` gave.
    run
        The run it belongs to; without it the cut-off is that of the longest G.

    Raises
    ------
    FormatError
        When density and run have different cells.
    """
    bohr = QE.bohr_angstrom
    cell = 2 * np.pi * np.linalg.inv(density.reciprocal).T * bohr
    facts: dict[str, float | bool] = {"gamma_only": density.gamma_only}
    if run is None:
        shape = natural_grid(density.miller)
        longest = np.linalg.norm(density.miller @ density.reciprocal, axis=1).max()
        facts["ecutrho_hartree"] = 0.5 * float(longest) ** 2 * (1 + 1e-12)
        facts["alat_bohr"] = float(np.linalg.norm(cell[0])) / bohr
    else:
        _require_same_cell(cell, run)
        cell, shape = run.structure.cell, run.fft_grid
        facts |= {"ecutrho_hartree": run.ecutrho_hartree, "alat_bohr": run.alat_bohr}
    return GridDensity(cell, density.grid(shape) / bohr**3, facts)


def from_grid(
    grid: GridDensity,
    run: PlaneWaveRun | None = None,
    *,
    ecutrho_hartree: float | None = None,
    gamma_only: bool | None = None,
) -> PlaneWaveDensity:
    """Return the plane waves of a density in the order of the pw.x run that will read them.

    Parameters
    ----------
    grid
        The density.
    run
        A run with the same cell and cut-off, from which both are taken.
    ecutrho_hartree
        Cut-off of the density where there is no run; default what the file says.
    gamma_only
        Whether the run uses ``K_POINTS gamma``; default what the run or the file says.

    Raises
    ------
    MissingDataError
        When the cut-off is not known.
    FormatError
        When grid and run have different cells.
    """
    bohr = QE.bohr_angstrom
    facts: dict[str, Any] = dict(grid.facts)
    cell = grid.cell
    if run is not None:
        _require_same_cell(cell, run)
        cell = run.structure.cell
        facts |= {"ecutrho_hartree": run.ecutrho_hartree, "alat_bohr": run.alat_bohr}
        facts["gamma_only"] = run.gamma_only
    cutoff = ecutrho_hartree if ecutrho_hartree is not None else facts.get("ecutrho_hartree")
    if cutoff is None:
        raise MissingDataError(
            "the cut-off of the density",
            GRID_FILE,
            "Give ecutrho (Hartree: half of pw.x's ecutrho in Rydberg), or a run to imitate.",
        )
    half = bool(facts.get("gamma_only", False)) if gamma_only is None else gamma_only
    reciprocal = 2 * np.pi * np.linalg.inv(cell / bohr).T
    alat = float(facts.get("alat_bohr", np.linalg.norm(cell[0]) / bohr))
    miller = g_sphere(reciprocal, float(cutoff), alat, gamma_only=half)
    return density_from_grid(grid.values * bohr**3, reciprocal, miller, gamma_only=half)


def to_save(
    folder: str | Path,
    save: str | Path,
    *,
    like: str | Path | None = None,
    ecutrho_hartree: float | None = None,
    kinds: Sequence[str] = ("dat", "hdf5"),
    overwrite: bool = False,
) -> list[Path]:
    """Write a charge density into a ``.save`` folder from which pw.x starts.

    Run pw.x with ``startingpot = 'file'`` in ``&ELECTRONS`` and the same cell and cut-off.

    Parameters
    ----------
    folder
        A folder with ``charge_density.h5``, or the file.
    save
        Target ``<outdir>/<prefix>.save``; made if need be.
    like
        ``.save`` folder of a run with the same cell and cut-off. Its XML file is copied along,
        which ``calculation = 'bands'`` and ``'nscf'`` need.
    ecutrho_hartree
        Cut-off where neither `like` nor the density file says it.
    kinds
        ``dat`` for a pw.x built without HDF5, ``hdf5`` for one with; each reads only its own.
    overwrite
        Replace files that exist.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    LossError
        When the density holds another number of electrons than the run, or lacks spin parts:
        pw.x would rescale it, or go on without magnetisation, in silence.
    """
    target = Path(save)
    with folder_transaction(target, overwrite=overwrite) as temporary:
        written = fill_save(
            Path(folder),
            temporary,
            like=None if like is None else Path(like),
            ecutrho_hartree=ecutrho_hartree,
            kinds=kinds,
        )
        if find_save(target) is not None:  # its own XML file stays
            written = [file for file in written if file.name != SCHEMA]
            (temporary / SCHEMA).unlink(missing_ok=True)
    return [target / file.name for file in written]


def fill_save(
    grid_file: Path,
    folder: Path,
    *,
    like: Path | None = None,
    ecutrho_hartree: float | None = None,
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
    if "dat" in kinds:
        write_dat(folder / DAT, density)
    if "hdf5" in kinds:
        write_hdf5(folder / HDF5, density)
    if run is not None:
        shutil.copyfile(run.source, folder / SCHEMA)
    return sorted(folder.iterdir())


def _facts(run: PlaneWaveRun, order: list[int]) -> dict[str, Any]:
    """Return the content of ``plane_wave.json``."""
    facts = {
        "code": "Quantum ESPRESSO",
        "version": run.version,
        "atoms_quantity": run.structure.n_atoms,
        "fermi_energy_eV": run.fermi_level,
        "occupation": run.n_electrons,
        "spin": run.spin.value,
        "ecutrho_hartree": run.ecutrho_hartree,
        "alat_bohr": run.alat_bohr,
        "fft_grid": list(run.fft_grid),
        "gamma_only": run.gamma_only,
        "species": [run.structure.labels[atom] for atom in order],
    }
    if order != list(range(len(order))):
        facts["source_order"] = order
    return facts


def _write_bands(path: Path, run: PlaneWaveRun) -> None:
    """Write the levels in the style of ``eigval.h5``; LSDA has one more data set, for spin down."""
    with new_hdf5(path) as file:
        file.create_dataset("kpoints", data=run.k_frac)
        file.create_dataset("weights", data=run.k_weights)
        for name, levels in zip(("eigval_data", "eigval_data_down"), run.levels, strict=False):
            file.create_dataset(name, data=levels)
        for name, filling in zip(
            ("occupations", "occupations_down"), run.occupations, strict=False
        ):
            file.create_dataset(name, data=filling)
        file.attrs["unit"] = "eV"
        file.attrs["spin"] = run.spin.value


def _require_same_cell(cell: Any, run: PlaneWaveRun) -> None:
    if not np.allclose(cell, run.structure.cell, rtol=0, atol=1e-5):
        raise FormatError(
            run.source,
            "density and run have different cells",
            expected=f"{np.round(run.structure.cell, 5).tolist()} Å",
            found=f"{np.round(np.asarray(cell), 5).tolist()} Å",
        )


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
