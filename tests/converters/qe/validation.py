"""Figures of the QE converter against pw.x's own numbers: (system, quantity, found, limit)."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dock.converters.qe import from_grid, read_density, read_run, to_grid
from dock.units import QE

EIGENVALUE_LIMIT = 1e-6  # eV; reference.json is rounded to 1e-8
ELECTRON_LIMIT = 1e-9


def rows(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    """Yield system, quantity, largest deviation and limit for one run folder."""
    reference = json.loads((folder / "reference.json").read_text())
    name, run, density = folder.name, read_run(folder), read_density(_save(folder))
    if "eigenvalues_eV" in reference:
        expected = np.array(reference["eigenvalues_eV"]).reshape(len(run.k_frac), -1)
        found = run.levels.swapaxes(0, 1).reshape(len(run.k_frac), -1)
        yield name, "eigenvalues, eV", float(np.abs(found - expected).max()), EIGENVALUE_LIMIT
        k_frac = np.array(reference["k_fractional"])
        yield name, "k-points", float(np.abs(run.k_frac - k_frac).max()), 1e-9
    if "fermi_energy_eV" in reference and run.fermi_level is not None:
        difference = abs(run.fermi_level - reference["fermi_energy_eV"])
        yield name, "Fermi level, eV", difference, EIGENVALUE_LIMIT
    yield name, "rho(0) V - N", abs(density.n_electrons - run.n_electrons), ELECTRON_LIMIT
    grid = to_grid(density, run)
    for component, known in zip(
        grid.values, reference.get("rho_real_space_e_per_bohr3", []), strict=False
    ):
        value = float(component[1, 2, 3]) * QE.bohr_angstrom**3
        yield name, "rho at a grid point, e/Bohr^3", abs(value - known["at_123"]), 1e-12
    again = from_grid(grid, run)
    order = int(np.count_nonzero(np.any(again.miller != density.miller, axis=1)))
    yield name, "plane waves out of order", float(order), 0.0
    change = float(np.abs(again.values - density.values).max())
    yield name, "rho(G) there and back", change, 1e-14


def _save(folder: Path) -> Path:
    found = sorted(folder.glob("*.save"))
    return found[0] if found else folder
