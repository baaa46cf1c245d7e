"""What `dock` makes of a ``.save`` folder: structure, levels and density, no orbitals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dock.converters.deeph.poscar import format_poscar, read_poscar
from dock.converters.format import WriteOptions, hand_over
from dock.converters.qe.charge_density_dat import DAT, HDF5, read_density
from dock.converters.qe.charge_density_h5 import GRID_FILE, read_grid, write_grid
from dock.converters.qe.data_file_schema import PlaneWaveRun, describe_structure, read_run
from dock.converters.qe.density import to_grid
from dock.core.calculation import UNCONVERGED
from dock.errors import FormatError
from dock.io.files import write_text
from dock.io.hdf5 import new_hdf5
from dock.io.text import json_text, read_json

__all__ = [
    "describe_folder",
    "fill_folder",
    "find_folder",
    "folder_files",
    "to_folder",
    "unsound_folder",
]

RUN_FILE, BANDS_FILE = "plane_wave.json", "eigval.h5"


def folder_files(path: Path) -> list[Path]:
    """Return the files that decide whether a folder has changed."""
    return [file for name in (GRID_FILE, RUN_FILE) if (file := path / name).is_file()]


def find_folder(path: Path) -> Path | None:
    """Return the folder with a density or the levels of a plane-wave run, or of its file."""
    if path.is_file():
        return path.parent if path.name in (GRID_FILE, RUN_FILE) else None
    return path if folder_files(path) else None


def to_folder(save: str | Path, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Convert a ``.save`` folder: structure, levels and charge density; return the files.

    Written are ``POSCAR``, ``plane_wave.json`` (Fermi level, electrons, spin, cut-off),
    ``eigval.h5`` (k-points and bands) and, where the run has a density, ``charge_density.h5``.
    There are no orbitals, hence no ``info.json`` and no matrices. `save` may also be the run folder
    that holds the ``.save`` folder; the target is made if need be.
    """
    return hand_over(folder, WriteOptions(overwrite=overwrite), partial(fill_folder, Path(save)))


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
    write_text(folder / RUN_FILE, json_text(_facts(run, order)) + "\n")
    _write_bands(folder / BANDS_FILE, run)
    if density is not None:
        write_grid(folder / GRID_FILE, density)
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
    if run.converged is not None:
        facts["converged"] = run.converged
    if order != list(range(len(order))):
        facts["source_order"] = order
    return facts


def _write_bands(path: Path, run: PlaneWaveRun) -> None:
    """Write the levels in the style of ``eigval.h5``; LSDA has one more data set, for spin down."""
    with new_hdf5(path) as file:
        file.create_dataset("kpoints", data=run.k_frac)
        file.create_dataset("weights", data=run.k_weights)
        for name, channels in (("eigval_data", run.levels), ("occupations", run.occupations)):
            for suffix, values in zip(("", "_down"), channels, strict=False):
                file.create_dataset(f"{name}{suffix}", data=values)
        file.attrs["unit"] = "eV"
        file.attrs["spin"] = run.spin.value


def describe_folder(folder: Path) -> dict[str, Any]:
    """Return structure, Fermi level and density grid of what `to_folder` wrote."""
    facts = _read_facts(folder / RUN_FILE)
    described = {
        **describe_structure(read_poscar(folder / "POSCAR")),
        "spin": str(facts.get("spin", "unknown")),
        "fermi_level_eV": facts.get("fermi_energy_eV"),
        "n_electrons": facts.get("occupation"),
    }
    if reason := unsound_folder(folder):
        described["note"] = reason
    if (folder / GRID_FILE).is_file():
        grid = read_grid(folder)
        described["density_grid"] = list(grid.values.shape[1:])
        described["density_components"] = len(grid.values)
        described["density_electrons"] = grid.n_electrons
    return described


def unsound_folder(folder: Path) -> str:
    """Return why the run that a folder is made of is no result; empty where nothing says so."""
    facts = _read_facts(folder / RUN_FILE)
    return UNCONVERGED if facts.get("converged") is False else ""


def _read_facts(path: Path) -> dict[str, Any]:
    """Return the content of ``plane_wave.json``; nothing where another program made the density."""
    if not path.is_file():
        return {}
    content = read_json(path, "Convert again.")
    for key in ("fermi_energy_eV", "occupation"):
        if not isinstance(content.get(key, 0.0), int | float | None):
            raise FormatError(path, "a field is no number", where=key, fix="Convert again.")
    return content
