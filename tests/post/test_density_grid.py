"""Densities on a grid: against sums written out, the electrons, and other programs' readers."""

import json
from dataclasses import replace

import face
import h5py
import numpy as np
import pytest
from gaussian_model import gaussian_basis, images, model, orbitals_at
from samples import OPENMX, cli, refused
from synthetic import neighbour_pairs, random_hermitian, random_structure

import dock
from dock.core.calculation import Provenance
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError, OutputError, UsageError
from dock.grid.cube_xsf import read_cube
from dock.grid.grid import Grid, make_grid, with_radials
from dock.post.density_grid import (
    GridDensity,
    charge_density,
    density_source,
    window_density_matrix,
)
from dock.post.density_matrices import density_matrix
from dock.post.wavefunction import coefficients, states_on_grid
from dock.states.kmesh import KMesh
from dock.states.smearing import Smearing


def written_out(density, points):
    """Σ_L Σ_ijR P_ij(R) φ_i(r − τ_i − L) φ_j(r − τ_j − R − L), every sum written out."""
    structure, basis, pairs = density.structure, density.basis, density.pairs
    shifts = images(structure)
    cache = {
        (atom, tuple(L)): orbitals_at(structure, basis, atom, L, points)
        for atom in range(structure.n_atoms)
        for L in shifts
    }
    cache = {image: values for image, values in cache.items() if values.any()}  # the others add 0
    total = np.zeros((len(density.entries), len(points)), dtype=complex)
    for p in range(len(pairs)):
        block = np.reshape(
            density.layout.read(density.entries, next(iter_one(density, p))),
            (len(density.entries), basis.counts[pairs.i[p]], basis.counts[pairs.j[p]]),
        )
        for L in shifts:
            first, second = (pairs.i[p], tuple(L)), (pairs.j[p], tuple(L + pairs.R[p]))
            if first in cache and second in cache:
                left, right = cache[first], cache[second]
                total += np.einsum("ip,cij,jp->cp", left, block, right)
    return total


def iter_one(matrix, p):
    from dock.core.blocks import BlockGroup

    yield BlockGroup(np.array([p]), int(matrix.layout.rows[p]), int(matrix.layout.cols[p]), 0)


@pytest.mark.parametrize("spin", list(Spin))
def test_density_is_the_sum_over_pairs_and_images(rng, spin):
    structure = random_structure(rng, 2, size=3.4)
    basis = gaussian_basis(structure.labels)
    pairs = neighbour_pairs(structure, 5.0)
    matrix = random_hermitian(rng, structure, basis, pairs, spin=spin, quantity="density_matrix")
    grid = make_grid(structure, (7, 6, 9))
    result = charge_density(matrix, grid, jobs=2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    points = index.reshape(-1, 3) @ grid.steps
    parts = written_out(matrix, points)
    if spin is Spin.NONE:
        wanted = [parts[0].real]
    elif spin is Spin.COLLINEAR:
        wanted = [(parts[0] + parts[1]).real, (parts[0] - parts[1]).real]
    else:
        uu, ud, du, dd = parts
        wanted = [(uu + dd).real, (ud + du).real, (1j * (ud - du)).real, (uu - dd).real]
    scale = np.abs(wanted[0]).max()
    for found, expected in zip(result.values, wanted, strict=True):
        assert np.abs(found.ravel() - expected).max() < 1e-6 * scale


def test_density_is_the_sum_over_states():
    calc = model()
    mesh = KMesh.full((2, 3, 1), (0.1, 0.3, 0.2))
    both = np.concatenate([mesh.points, -mesh.points])
    rho = density_matrix(calc, mesh, smearing=Smearing("gaussian", 0.3))
    grid = make_grid(calc.structure, (11, 12, 10))
    result = charge_density(rho.density, grid, overlap=calc.require("S"))
    found = coefficients(calc, both)
    total = np.zeros(grid.shape)
    for k in range(len(both)):
        states = states_on_grid(found, grid, kpoint=k)
        filling = Smearing("gaussian", 0.3).occupation(states.energies, rho.fermi_level)
        for n, f in enumerate(filling):
            total += 2 * f * states.density(n) / len(both)
    # The density matrix of a mesh without −k takes the real part, which adds it.
    assert np.abs(result.values[0] - total).max() < 1e-7
    assert result.expected == pytest.approx(4.0, abs=1e-9)
    assert result.n_electrons == pytest.approx(4.0, abs=1e-4)


def test_local_dos_of_all_states_is_the_trace_of_the_inverse_overlap():
    calc = model()
    mesh = KMesh.full((2, 2, 2))
    everything = window_density_matrix(calc, (-1e3, 1e3), mesh)
    assert everything.dot(calc.require("S")) == pytest.approx(16, abs=1e-9)
    low = window_density_matrix(calc, (-1e3, -9.0), mesh)
    high = window_density_matrix(calc, (-9.0 + 1e-9, 1e3), mesh)
    assert np.allclose(low.entries + high.entries, everything.entries, atol=1e-10)
    grid = make_grid(calc.structure, (12, 12, 12))
    ldos = charge_density(low, grid, kind="local density of states")
    assert ldos.values.min() > -1e-12
    with pytest.raises(UsageError, match="empty"):
        window_density_matrix(calc, (1.0, -1.0), mesh)


def test_which_density_matrix_a_density_is_made_of():
    calc = dock.read(OPENMX / "h2o")
    assert density_source(calc) is calc.density_matrix
    made = density_source(calc, recompute=True)
    assert made is not calc.density_matrix
    assert np.abs((made - calc.density_matrix).entries).max() < 1e-6
    assert density_source(calc, (1, 1, 1)).dot(calc.overlap) == pytest.approx(8, abs=1e-9)
    assert density_source(calc, electrons=6).dot(calc.overlap) == pytest.approx(6, abs=1e-9)
    everything = density_source(calc, window=(-1e3, 0.0))
    assert everything.dot(calc.overlap) == pytest.approx(8, abs=1e-9)
    unknown = dock.Calculation(calc.structure, calc.basis, calc.spin, calc.matrices)
    with pytest.raises(MissingDataError, match="electrons=N"):
        density_source(unknown, window=(-1.0, 1.0))


@pytest.mark.parametrize(("oversample", "shape"), [(2, (7, 6, 8)), (3, (6, 5, 4)), (4, (4, 3, 5))])
def test_oversampled_values_are_means_over_boxes(rng, oversample, shape):
    """Against the fine grid: along each axis the points nearest to one, half-way ones half."""
    structure = random_structure(rng, 2, size=3.4)
    basis = gaussian_basis(structure.labels)
    pairs = neighbour_pairs(structure, 5.0)
    matrix = random_hermitian(
        rng, structure, basis, pairs, spin=Spin.NONCOLLINEAR, quantity="density_matrix"
    )
    calls = []
    result = charge_density(
        matrix,
        make_grid(structure, shape),
        oversample=oversample,
        progress=lambda done, total: calls.append((done, total)),
    )
    fine = charge_density(matrix, make_grid(structure, [n * oversample for n in shape]))
    expected = fine.values
    for axis, n in enumerate(shape, start=1):
        points = np.arange(n * oversample)
        apart = (points[:, None] / oversample - np.arange(n) + n / 2) % n - n / 2
        weights = np.where(np.isclose(np.abs(apart), 0.5), 0.5, np.abs(apart) < 0.5) / oversample
        assert np.allclose(weights.sum(axis=0), 1)
        expected = np.moveaxis(np.tensordot(expected, weights, (axis, 0)), -1, axis)
    assert np.abs(result.values - expected).max() < 1e-10 * np.abs(expected).max()
    assert result.oversample == oversample
    assert result.integrals == pytest.approx(fine.integrals, abs=1e-9)
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_oversampling_changes_little_where_the_grid_is_fine():
    calc = model()
    rho = density_matrix(calc, KMesh.full((2, 2, 2)))
    grid = make_grid(calc.structure, (32, 32, 32))
    plain = charge_density(rho.density, grid, overlap=calc.require("S"))
    finer = charge_density(rho.density, grid, overlap=calc.require("S"), oversample=2)
    assert np.abs(plain.values - finer.values).max() < 2e-2 * plain.values.max()
    assert finer.missed < 1e-6
    assert plain.missed < 1e-6
    with pytest.raises(UsageError, match="oversample must be 1 or more, found 0"):
        charge_density(rho.density, grid, oversample=0)


@pytest.mark.shared
def test_the_command_says_what_the_grid_misses_and_oversamples_when_told(shared, tmp_path):
    folder = shared / "fixtures" / "siesta" / "fept_soc"
    words = ["charge-density", folder / "fept_soc.v2.HSX", "--basis", folder, "-o"]
    code, out, err = cli(*words, tmp_path / "a.h5")
    assert code == 0, err
    assert "misses 2.5e-04 electrons: a finer --spacing X or a larger --oversample N mends" in err
    assert "means" not in out
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["oversample"] == 1
    assert abs(facts["integrals"]["total"] - 18) > 1e-4
    code, out, err = cli(*words, tmp_path / "b.h5", "--oversample", 2)
    assert code == 0, err
    assert "means over boxes of 2³" in out
    assert "misses" not in err
    facts = json.loads((tmp_path / "b.json").read_text())
    assert facts["oversample"] == 2
    assert facts["integrals"]["total"] == pytest.approx(18, abs=1e-5)
    assert facts["smallest_per_A3"] > 0


@pytest.mark.shared
def test_a_density_matrix_that_does_not_fit_is_no_matter_of_the_grid(shared, tmp_path, monkeypatch):
    from dock.post import density_grid

    folder = shared / "fixtures" / "siesta" / "fept_soc"
    plain = density_grid.charge_density

    def wrong(density, grid, **options):
        found = plain(density, grid, **options)
        return density_grid.replace(found, expected=found.expected * 1.2)

    monkeypatch.setattr(density_grid, "charge_density", wrong)
    words = ["charge-density", folder / "fept_soc.v2.HSX", "--basis", folder, "-o"]
    code, _, err = cli(*words, tmp_path / "a.h5")
    assert code == 0, err
    assert "the grid has 18 electrons, Tr(ρS) is 21.6: no grid mends that" in err


ELECTRONS = [
    ("h2o", 8, None),
    ("si", 8, None),
    ("graphene-v38", 8, None),
    ("mos2", 26, None),
    ("o2-spin", 12, 2.0),
    ("o2-nc-soc", 12, 2.0),
]


@pytest.mark.shared
@pytest.mark.parametrize(("system", "electrons", "moment"), ELECTRONS)
def test_real_densities_integrate_to_the_electrons(shared, system, electrons, moment):
    calc = dock.read(OPENMX / system, basis=shared / "public" / "openmx" / "pao")
    grid = make_grid(calc.structure, spacing=0.1)
    result = charge_density(calc.require("DM"), grid, overlap=calc.require("S"))
    assert result.expected == pytest.approx(electrons, abs=1e-6)
    assert result.n_electrons == pytest.approx(electrons, abs=1e-4)
    assert result.values[0].min() > -1e-6
    if moment is not None:
        vector = [value for name, value in result.integrals.items() if name != "total"]
        assert np.linalg.norm(vector) == pytest.approx(moment, abs=1e-3)


OTHERS = [
    *[("openmx", name) for name in ("co-f", "graphene", "fe-spin", "gaas-soc")],
    *[("siesta", name) for name in ("h2o", "graphene", "si2", "o2", "fe_bcc", "fe2_nc")],
    *[("siesta", name) for name in ("fept_soc", "bilayer_AB")],
    *[("abacus", name) for name in ("si2", "graphene", "fe")],
]
BASES = {"openmx": "public/openmx/pao", "abacus": "public/abacus/orb"}
# The 5d of Pt beside the 3d of Fe: 2.5e-4 of 18 electrons are missed by the points themselves.
OVERSAMPLE = {"fept_soc": 2}


@pytest.mark.shared
@pytest.mark.parametrize(("code", "system"), OTHERS)
def test_densities_of_all_codes_integrate_to_the_electrons(shared, code, system):
    folder = shared / "fixtures" / code / system
    basis = shared / BASES[code] if code in BASES else folder
    file = next(folder.glob("*.v2.HSX")) if code == "siesta" else folder
    calc = dock.read(file, basis=basis)
    grid = make_grid(calc.structure, spacing=0.1)
    result = charge_density(
        calc.require("DM"),
        grid,
        overlap=calc.require("S"),
        oversample=OVERSAMPLE.get(system, 1),
    )
    assert result.expected == pytest.approx(calc.n_electrons, abs=1e-8)
    assert result.n_electrons == pytest.approx(calc.n_electrons, abs=1e-4)


@pytest.mark.shared
@pytest.mark.parametrize("system", ["si2", "h2o"])
@pytest.mark.filterwarnings("ignore")
def test_density_agrees_with_sisl_at_every_point(shared, system):
    sisl = pytest.importorskip("sisl")
    from dock.converters.siesta import read

    folder = shared / "fixtures" / "siesta" / system
    calc = read(folder / f"{system}.TSHS", basis=folder)
    structure = calc.structure
    grid = make_grid(structure, (24, 24, 24))
    ours = charge_density(calc.require("DM"), grid).values[0]
    atoms = {
        label: sisl.get_sile(folder / f"{label}.ion.xml").read_basis()
        for label in set(structure.labels)
    }
    geometry = sisl.Geometry(
        structure.positions, [atoms[label] for label in structure.labels], lattice=structure.cell
    )
    geometry.set_nsc(sisl.get_sile(folder / f"{system}.TSHS").read_geometry().nsc)
    density = sisl.get_sile(folder / f"{system}.DM").read_density_matrix(geometry=geometry)
    theirs = sisl.Grid(grid.shape, geometry=geometry)
    density.density(theirs)
    assert np.abs(np.asarray(theirs.grid) - ours).max() < 2e-6 * ours.max()


@pytest.fixture
def density():
    calc = model()
    rho = density_matrix(calc, (1, 1, 1))
    return charge_density(rho.density, make_grid(calc.structure, (8, 9, 10)))


def test_cube_is_read_by_ase_and_by_us(density, tmp_path):
    from ase.io.cube import read_cube_data
    from ase.units import Bohr

    files = density.save(tmp_path / "rho.cube")
    assert [file.name for file in files] == ["rho.cube", "rho.json"]
    data, atoms = read_cube_data(str(tmp_path / "rho.cube"))
    structure = density.grid.structure
    assert np.allclose(data / Bohr**3, density.values[0], rtol=1e-4, atol=1e-7)
    assert np.allclose(atoms.get_positions(), structure.positions, atol=1e-6)
    assert np.allclose(np.array(atoms.cell), structure.cell, atol=1e-6)
    own, values = read_cube(tmp_path / "rho.cube")
    assert own.is_close(structure, 1e-6)
    assert np.allclose(values, data, rtol=1e-12)


def test_xsf_is_read_by_ase(density, tmp_path):
    from ase.io.xsf import read_xsf

    density.save(tmp_path / "rho.xsf")
    with (tmp_path / "rho.xsf").open() as file:
        data, _, _, atoms = read_xsf(file, read_data=True)
    data = np.asarray(data)
    assert np.allclose(data[:-1, :-1, :-1], density.values[0], rtol=1e-6)
    assert np.array_equal(data[-1], data[0])  # the first points are repeated at the end
    assert np.allclose(atoms.get_positions(), density.grid.structure.positions, atol=1e-8)


def test_pymatgen_finds_the_electrons(density):
    pytest.importorskip("pymatgen")
    chgcar = density.to_pymatgen()
    assert chgcar.data["total"].mean() == pytest.approx(density.n_electrons, rel=1e-12)
    assert chgcar.structure.composition.reduced_formula == "C"


@pytest.mark.parametrize("kind", ["h5", "cube", "xsf"])
def test_the_face_of_a_density(density, tmp_path, kind):
    files = face.holds(density, tmp_path / f"rho.{kind}", part="total", axis=0)
    assert [file.name for file in files] == [f"rho.{kind}", "rho.json"]
    content = json.loads(files[1].read_text())
    assert content["n_electrons"] == content["integrals"]["total"] == density.n_electrons
    assert content["quantity"] == "charge density"
    assert content["expected_electrons"] is None


def test_no_cube_is_written_where_one_is_there(tmp_path, monkeypatch):
    """The spin's cube is in the way: the total's must not be written before that is seen."""
    calc = dock.read(OPENMX / "o2-spin")
    grid = Grid(calc.structure, (2, 3, 2))
    density = GridDensity(grid, calc.spin, np.ones((2, 2, 3, 2)), float("nan"))
    (tmp_path / "rho_m_z.cube").write_text("mine")
    with pytest.raises(OutputError, match=r"rho_m_z\.cube.*overwrite=True"):
        density.save(tmp_path / "rho.cube")
    assert [file.name for file in tmp_path.iterdir()] == ["rho_m_z.cube"]
    density.save(tmp_path / "rho.h5")
    monkeypatch.chdir(tmp_path)
    local = replace(density, kind="local density of states")
    assert [file.name for file in local.save()] == ["local_dos.h5", "local_dos.json"]
    with h5py.File(tmp_path / "rho.h5") as file:
        assert file["magnetization"].attrs["parts"] == "m_z"
        assert file.attrs["unit"] == "electrons/angstrom^3"
        assert file.attrs["parts"].tolist() == ["total", "m_z"]


def test_hdf5_is_the_unified_format(density, tmp_path):
    density.save(tmp_path / "charge_density.h5")
    with h5py.File(tmp_path / "charge_density.h5") as file:
        assert file["shape"][()].tolist() == [8, 9, 10]
        assert np.array_equal(file["entries"][()], density.values[0].ravel())
    facts = json.loads((tmp_path / "charge_density.json").read_text())
    assert facts["integrals"]["total"] == density.n_electrons
    with pytest.raises(OutputError, match="overwrite"):
        density.save(tmp_path / "charge_density.h5")
    density.plot(tmp_path / "rho.png")
    with pytest.raises(UsageError, match="no part"):
        density.part("m_z")
    with pytest.raises(UsageError, match="axis"):
        density.plot(tmp_path / "x.png", axis=3)


@pytest.mark.shared
def test_targets_are_looked_at_before_anything_is_computed(shared, tmp_path, monkeypatch):
    def compute(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr("dock.post.density_grid.density_source", compute)
    pao = shared / "public" / "openmx" / "pao"
    (tmp_path / "rho_m_z.cube").write_text("mine")
    run = ("charge-density", OPENMX / "o2-spin", "--basis", pao, "--spacing", 0.5)
    refused(cli(*run, "-o", tmp_path / "rho.cube"), "rho_m_z.cube", "--overwrite")


@pytest.mark.shared
def test_command(shared, tmp_path):
    pao = shared / "public" / "openmx" / "pao"
    run = ("charge-density", OPENMX / "o2-spin", "--basis", pao, "--spacing", 0.15)
    answer = cli(*run, "-o", tmp_path / "rho.cube", "--plot", tmp_path / "rho.png")
    assert answer.code == 0, answer.err
    assert "12.000" in answer.out
    assert (tmp_path / "rho_m_z.cube").is_file()
    refused(cli(*run, "-o", tmp_path / "rho.cube"), "--overwrite")
    refused(cli(*run, "-o", tmp_path / "rho.txt"), ".cube")
    refused(cli(*run, "--grid", 0, 4, 4, "-o", tmp_path / "a.h5"), "not both")
    refused(cli(*run[:4], "--grid", 0, 4, 4, "-o", tmp_path / "a.h5"), "positive numbers")
    water = ("charge-density", OPENMX / "h2o", "--basis", pao, "--spacing", 0.3)
    answer = cli(*water, "--window", -30, 0.0, "--json", "-o", tmp_path / "ldos.xsf")
    assert json.loads(answer.out)["expected_electrons"] == pytest.approx(8, abs=1e-9)
    again = cli(*water, "--recompute", "--json", "-o", tmp_path / "again.h5")
    assert json.loads(again.out)["integrals"]["total"] == pytest.approx(8, abs=0.1)
    dock.write(dock.read(OPENMX / "h2o"), tmp_path / "u")
    unified = ("charge-density", tmp_path / "u", "--basis", pao, "--spacing", 0.3)
    answer = cli(*unified, "--json")  # the run's own input says which orbitals
    assert json.loads(answer.out)["expected_electrons"] == pytest.approx(8, abs=1e-6)
    species = ("--species", "O=O5.0-s2p1", "--species", "H=H5.0-s2p1", "--overwrite", "--json")
    assert cli(*unified, *species).out == answer.out
    named = cli(*unified, "--set", "O=O5.0-s2p1", "--set", "H=H5.0-s2p1", "--overwrite", "--json")
    assert named.out == answer.out
    refused(cli(*unified, "--species", "O"), "--species takes name=value")
    calc = dock.read(tmp_path / "u")
    with pytest.raises(MissingDataError, match=r"C=C6\.0-s2p2d1"):
        with_radials(calc.replace(provenance=Provenance()), pao)
    wrong = {"O": "O5.0-s1p1", "H": "H5.0-s1"}
    with pytest.raises(LayoutError, match="other shells"):
        with_radials(calc, pao, strings=wrong)


def test_bad_input(tmp_path):
    calc = dock.read(OPENMX / "h2o")
    grid = make_grid(calc.structure, (4, 4, 4))
    with pytest.raises(MissingDataError, match="basis=DIR"):
        charge_density(calc.require("DM"), grid)
    refused(cli("charge-density", OPENMX / "h2o", "-o", tmp_path / "x.h5"), "--basis")
    refused(
        cli("charge-density", OPENMX / "h2o", "--basis", tmp_path, "-o", tmp_path / "x.h5"),
        tmp_path,
    )
    model_calc = model()
    with pytest.raises(UsageError, match="density matrix"):
        charge_density(model_calc.require("S"), make_grid(model_calc.structure, (4, 4, 4)))
