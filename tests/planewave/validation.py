"""Figures of projected plane-wave runs: (system, quantity, deviation, limit, unit).

The bundled runs are compared everywhere, silicon where the reference data are.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import dock
from dock.converters.basis_files import basis_for, read_basis_folder
from dock.converters.qe import read_density, read_run
from dock.planewave import Request, project
from dock.planewave.facts import read_facts, read_pseudos
from dock.planewave.local_potential import density_potential
from dock.planewave.vsc import read_vsc
from dock.states.problem import Problem
from dock.states.stream import levels
from dock.units import QE

ROOT = Path(__file__).resolve().parents[2]
Row = tuple[str, str, float, float, str]


def rows(shared: Path) -> Iterator[Row]:
    """Yield all figures of the data that are there."""
    if importlib.util.find_spec("pyscf") is not None:
        yield _potential("Ge atom (LSDA, core)", ROOT / "fixtures/qe/ge_spin", None)
    silicon, pseudo = shared / "public/qe/si_projection", shared / "public/qe/pseudo"
    if not silicon.is_dir():
        return
    if importlib.util.find_spec("pyscf") is not None:
        yield _potential("Si", silicon, pseudo)
        hamiltonians = [
            _calculation(silicon, silicon / "aobasis", pseudo, way).hamiltonian.entries
            for way in ("vsc", "density")
        ]
        difference = 1e3 * np.abs(hamiltonians[0] - hamiltonians[1]).max()
        yield "Si", "H of the density − H of VSC", float(difference), 0.5, "meV"
    yield from _silicon(silicon, pseudo)


def _potential(name: str, folder: Path, pseudo: Path | None) -> Row:
    facts = read_facts(folder)
    made = density_potential(facts, read_density(facts.folder), read_pseudos(facts, pseudo))
    given = read_vsc(folder / "VSC").grid(facts.run.fft_grid) * QE.rydberg_ev
    return name, "potential of the density − VSC", 1e3 * float(abs(made - given).max()), 0.05, "meV"


def _calculation(folder: Path, basis_folder: Path, pseudo: Path, way: str = "vsc"):
    basis = basis_for(read_run(folder).structure, read_basis_folder(basis_folder))
    return project(folder, basis, Request(way, pseudo, quality="none")).calculation


def _silicon(folder: Path, pseudo: Path) -> Iterator[Row]:
    expected = dock.read(folder / "expected")
    reference = json.loads((folder / "reference.json").read_text())
    for basis, name, limit in (
        (folder / "aobasis", "Si, 2s2p1d", 40.0),
        (ROOT / "fixtures/qe/si_3s3p2d", "Si, 3s3p2d", 20.0),
    ):
        calc = _calculation(folder, basis, pseudo)
        if basis.name == "aobasis":
            for matrix, most, factor, unit in (
                ("overlap", 1e-4, 1, "1"),
                ("hamiltonian", 1.0, 1e3, "meV"),
            ):
                theirs = expected.require(matrix)
                mine = calc.require(matrix).on_pairs(theirs.pairs)
                deviation = factor * float(np.abs(mine.entries - theirs.entries).max())
                yield name, f"{matrix} − HPRO's", deviation, most, unit
        bands = levels(Problem.of(calc), reference["k_fractional"], jobs=1).energies[0]
        error = 1e3 * (bands[:, :4] - np.array(reference["qe_bands_eV"])[:, :4])
        rms = float(np.sqrt(np.mean(error**2)))
        yield name, "valence bands − plane waves', rms", rms, limit, "meV"
        yield name, "valence bands below plane waves'", float(max(0.0, -error.min())), 0.0, "meV"
