"""What ``dock info`` shows of a pw.x run, and of a folder made from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dock.converters.deeph.poscar import read_poscar
from dock.converters.qe.charge_density_h5 import GRID_FILE, read_grid
from dock.converters.qe.convert import RUN_FILE
from dock.converters.qe.data_file_schema import read_run
from dock.core.structure import Structure
from dock.errors import FormatError

__all__ = ["describe_folder", "describe_run"]


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
        **_structure(run.structure),
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
    }


def describe_folder(folder: Path) -> dict[str, Any]:
    """Return structure, Fermi level and density grid of what `to_folder` wrote.

    Raises
    ------
    FormatError
        When ``plane_wave.json`` is damaged.
    """
    facts = _facts(folder / RUN_FILE)
    found = {
        **_structure(read_poscar(folder / "POSCAR")),
        "spin": str(facts.get("spin", "unknown")),
        "fermi_level_eV": facts.get("fermi_energy_eV"),
        "n_electrons": facts.get("occupation"),
    }
    if (folder / GRID_FILE).is_file():
        grid = read_grid(folder)
        found["density_grid"] = list(grid.values.shape[1:])
        found["density_components"] = len(grid.values)
        found["density_electrons"] = grid.n_electrons
    return found


def _structure(structure: Structure) -> dict[str, Any]:
    return {
        "formula": structure.formula,
        "n_atoms": structure.n_atoms,
        "cell_angstrom": structure.cell.tolist(),
        "pbc": list(structure.pbc),
    }


def _facts(path: Path) -> dict[str, Any]:
    """Return the content of ``plane_wave.json``; nothing where another program made the density."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(
            path, f"this is not valid JSON ({error})", fix="Convert again."
        ) from error
    if not isinstance(content, dict):
        raise FormatError(path, "this is no JSON object", fix="Convert again.")
    wrong = [
        key
        for key in ("fermi_energy_eV", "occupation")
        if not isinstance(content.get(key, 0.0), int | float | None)
    ]
    if wrong:
        raise FormatError(path, "a field is no number", where=wrong[0], fix="Convert again.")
    return content
