"""Against HPRO's matrices, pw2bgw.x's potential and pw.x's own levels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import samples

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

pytestmark = pytest.mark.shared
IRON = [(0.12, 1.9, 7), (0.12, 1.9, 7), (0.15, 2.0, 6), (0.3, 2.5, 1)]


@pytest.fixture
def silicon(shared):
    """Return the run, its basis and the folder of pseudopotentials."""
    folder = shared / "public/qe/si_projection"
    basis = basis_for(read_run(folder / "si.save").structure, read_basis_folder(folder / "aobasis"))
    return folder, basis, shared / "public/qe/pseudo"


@pytest.mark.parametrize("potential", ["vsc", "density"])
def test_matrices_of_silicon(silicon, potential):
    """S and H of HPRO, its cut-off being 1.1 times the one given; its bands at its k-points."""
    folder, basis, pseudo = silicon
    calc = project(folder, basis, Request(potential, pseudo)).calculation
    expected = dock.read(folder / "expected")
    assert len(calc.overlap.pairs) == len(expected.overlap.pairs)
    for name, limit in (("overlap", 1e-6), ("hamiltonian", 2e-4)):
        theirs = expected.require(name)
        mine = calc.require(name).on_pairs(theirs.pairs)
        assert np.abs(mine.entries - theirs.entries).max() < limit
    reference = json.loads((folder / "reference.json").read_text())
    bands = levels(Problem.of(calc), reference["k_fractional"], jobs=1).energies[0]
    error = bands[:, :4] - np.array(reference["qe_bands_eV"])[:, :4]
    assert error.min() > 0
    assert 1e3 * np.sqrt(np.mean(error**2)) == pytest.approx(33.8, abs=0.1)
    assert 1e3 * error.max() == pytest.approx(53.1, abs=0.1)


def test_a_larger_basis_is_better(silicon, bundled):
    """3s3p2d, 44 orbitals of 8 Bohr, on the path of 45 k: above the plane waves, 12 meV rms."""
    folder, _, pseudo = silicon
    structure = read_run(folder / "si.save").structure
    basis = basis_for(structure, read_basis_folder(bundled / "qe" / "si_3s3p2d"))
    assert basis.n_orbitals == 44
    calc = project(folder, basis, Request("density", pseudo, quality="none")).calculation
    reference = json.loads((folder / "reference.json").read_text())
    bands = levels(Problem.of(calc), reference["k_fractional"], jobs=1).energies[0]
    error = bands[:, :4] - np.array(reference["qe_bands_eV"])[:, :4]
    assert error.min() > 0
    assert 1e3 * np.sqrt(np.mean(error**2)) == pytest.approx(12.4, abs=0.1)
    assert 1e3 * error.max() == pytest.approx(22.5, abs=0.1)


def test_potential_of_the_density_is_that_of_pw2bgw(silicon):
    """No point of the grid differs by more than 0.02 meV, and the average agrees too."""
    folder, _, pseudo = silicon
    facts = read_facts(folder)
    made = density_potential(facts, read_density(facts.folder), read_pseudos(facts, pseudo))
    given = read_vsc(folder / "VSC").grid(facts.run.fft_grid) * QE.rydberg_ev
    assert np.abs(made - given).max() < 2e-5


@pytest.mark.parametrize("name", ["fe", "fe_nc"])
def test_iron_reaches_the_levels_of_plane_waves(shared, gaussians, name):
    """LSDA and non-collinear iron in a basis that converges, against the XML's levels."""
    run = read_run(shared / f"fixtures/qe/{name}")
    basis = gaussians(run.structure.labels, {"Fe": IRON}, 5.5)
    request = Request("density", shared / "public/qe/pseudo")
    quality = project(shared / f"fixtures/qe/{name}", basis, request).quality
    assert quality.occupied_rms < 6e-3
    assert abs(quality.occupied_max) < 6e-3


def test_without_cut_off_the_levels_lie_above(shared, gaussians):
    """The variational principle, with nothing left out of the orbitals."""
    run = read_run(shared / "fixtures/qe/fe")
    basis = gaussians(run.structure.labels, {"Fe": IRON}, 5.5)
    request = Request("density", shared / "public/qe/pseudo", cutoff_rydberg=0.0)
    quality = project(shared / "fixtures/qe/fe", basis, request).quality
    assert quality.occupied_min > 0
    assert quality.occupied_rms < 0.02


def test_spillage_falls_with_the_basis(shared, gaussians):
    """States of silicon that the basis cannot hold."""
    place = shared / "fixtures/qe/si"
    run = read_run(place)
    found = []
    for count in (2, 5):
        series = {"Si": [(0.08, 2.0, count), (0.08, 2.0, count), (0.1, 2.2, 3)]}
        basis = gaussians(run.structure.labels, series, 7.0)
        request = Request("density", shared / "public/qe/pseudo", quality="wavefunctions")
        found.append(project(place, basis, request).quality.occupied_spillage)
    assert 0 < found[1] < 1e-3 < found[0]


def test_command_line(shared, tmp_path):
    """One command; the report is printed and saved, and a rerun has nothing to do."""
    folder = shared / "public/qe/si_projection"
    words = ("convert", "--from", "qe", folder, "--basis", folder / "aobasis", "-o", tmp_path / "o")
    words = (*words, "--set", f"pseudo={shared / 'public/qe/pseudo'}", "--potential", "density")
    answer = samples.cli(*words)
    assert answer.code == 0, answer.err
    assert "meV rms" in answer.err
    calc = dock.read(tmp_path / "o")
    saved = calc.provenance.extra["plane_wave"]["basis_quality_eV"]
    assert 1e3 * saved["occupied_rms"] == pytest.approx(32.9, abs=0.1)
    assert calc.n_electrons == 8
    assert calc.fermi_level == pytest.approx(read_run(folder).fermi_level)
    assert "nothing to do" in samples.cli(*words).out


def test_read_with_a_basis(shared):
    """`dock.read` takes the same way."""
    folder = shared / "public/qe/si_projection"
    settings = {"pseudo": str(shared / "public/qe/pseudo"), "quality": "none"}
    calc = dock.read(folder, "qe", basis=folder / "aobasis", settings=settings)
    assert set(calc.available) == {"overlap", "hamiltonian"}
