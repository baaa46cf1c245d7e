"""Coefficients and wavefunctions on a grid."""

import json

import face
import h5py
import lattice_models
import numpy as np
import pytest
from gaussian_model import images, model, orbitals_at
from samples import OPENMX, ROOT, cli, refused

import dock
from dock.core.spin import Spin
from dock.errors import MissingDataError, UsageError
from dock.grid.grid import make_grid
from dock.post import bands
from dock.post.band_selection import BandSelection
from dock.post.wavefunction import coefficients, states_on_grid
from dock.states.kmesh import KMesh

K = [0.13, 0.25, -0.41]


def test_psi_and_u_are_the_sums_of_the_paper():
    calc = model()
    found = coefficients(calc, [K], bands=[0, 3])
    grid = make_grid(calc.structure, (6, 5, 7))
    psi = states_on_grid(found, grid, jobs=2)
    u = states_on_grid(found, grid, periodic=True)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    points = index.reshape(-1, 3) @ grid.steps
    wanted = np.zeros((2, len(points)), dtype=complex)
    for L in images(calc.structure, 4):
        phase = np.exp(2j * np.pi * np.dot(K, L))
        for atom in range(2):
            values = orbitals_at(calc.structure, calc.basis, atom, L, points)
            c = found.vectors[0, 0, :, calc.basis.offsets[atom] : calc.basis.offsets[atom + 1]]
            wanted += phase * (c @ values)
    assert np.abs(psi.values.reshape(2, -1) - wanted).max() < 1e-7
    bloch = np.exp(-2j * np.pi * (index.reshape(-1, 3) / np.array(grid.shape)) @ K)
    assert np.abs(u.values.reshape(2, -1) - bloch * wanted).max() < 1e-7


def test_u_has_the_period_of_the_cell():
    """A state of the crystal, evaluated on two cells as one of their supercell."""
    calc = model()
    big = {name: calc.require(name).supercell([2, 1, 1]) for name in ("H", "S")}
    double = dock.Calculation(
        big["H"].structure,
        big["H"].basis,
        Spin.NONE,
        {"hamiltonian": big["H"], "overlap": big["S"]},
    )
    found = coefficients(calc, [K], bands=[1])
    c = found.vectors[0, 0, 0]
    shifted = np.concatenate([c, np.exp(2j * np.pi * K[0]) * c]) / np.sqrt(2)
    k_big = np.array([2 * K[0], K[1], K[2]])
    other = coefficients(double, [k_big], bands=[0])
    placed = type(other)(
        other.structure, other.basis, other.spin, other.kpoints, other.energies,
        shifted[None, None, None, :], other.bands,
    )  # fmt: skip
    values = states_on_grid(placed, make_grid(double.structure, (12, 5, 5))).values[0, 0]
    phase = np.exp(2j * np.pi * K[0])
    assert np.allclose(values[6:], phase * values[:6], atol=1e-9)


def test_norms_at_a_general_k():
    calc = model()
    states = states_on_grid(coefficients(calc, [K]), make_grid(calc.structure, spacing=0.2))
    assert np.abs(states.norms - 1).max() < 1e-4
    assert states.density(0).sum() * states.grid.volume_element == pytest.approx(states.norms[0])


@pytest.mark.shared
@pytest.mark.parametrize(
    "system", ["si", "mos2", "graphene-v38", "h2o", "o2-spin", "o2-nc-soc", "co-f"]
)
def test_norms_of_real_states_at_a_general_k(shared, system):
    calc = dock.read(OPENMX / system, basis=shared / "public" / "openmx" / "pao")
    n_filled = round(calc.n_electrons) // 2
    found = coefficients(calc, [[0.25, 0.13, -0.31]], bands=range(n_filled))
    states = states_on_grid(found, make_grid(calc.structure, spacing=0.1))
    assert states.values.shape[1] == (2 if calc.spin is Spin.NONCOLLINEAR else 1)
    assert np.abs(states.norms - 1).max() < 1e-4


def test_coefficients_solve_the_eigenproblem_and_are_saved(tmp_path):
    for system, layout in (("si", 1), ("o2-spin", 2), ("o2-nc-soc", 1)):
        calc = dock.read(OPENMX / system)
        mesh = KMesh.full((2, 1, 1))
        found = coefficients(calc, mesh, bands=[0, 2, 5])
        found.save(tmp_path / f"{system}.h5")
        with h5py.File(tmp_path / f"{system}.h5") as file:
            vectors, energies = file["eigenvectors"][()], file["eigenvalues"][()]
            assert vectors.shape[2:] == (1 if calc.spin is Spin.NONE else 2, calc.basis.n_orbitals)
            assert file["kgrid"][()].tolist() == [2, 1, 1]
            assert energies.shape == (2, 3 * layout)
        size = calc.basis.n_orbitals
        H, S = calc.require("H").k(mesh.full_points[1]), calc.require("S").k(mesh.full_points[1])
        if calc.spin is Spin.COLLINEAR:
            zero = np.zeros((size, size))
            H = np.block([[H[0], zero], [zero, H[1]]])
        if calc.spin is not Spin.NONE:
            S = np.kron(np.eye(2), S)
        for c, e in zip(vectors[1].reshape(3 * layout, -1), energies[1], strict=True):
            assert np.abs(H @ c - e * (S @ c)).max() < 1e-7
            assert (c.conj() @ S @ c).real == pytest.approx(1, abs=1e-9)
        content = json.loads((tmp_path / f"{system}.json").read_text())
        assert content["bands"] == [1, 3, 6]


OXYGEN = {"openmx": OPENMX / "o2-spin", "siesta": ROOT / "fixtures" / "siesta" / "o2"}


@pytest.mark.parametrize("code", sorted(OXYGEN))
def test_band_edges_of_the_oxygen_triplet_are_those_of_its_bands(tmp_path, code):
    """7 electrons are up and 5 down: each edge is a band of one spin channel."""
    answer = cli("bands", OXYGEN[code], "-o", tmp_path / "b.h5", "--json")
    wanted = json.loads(answer.out)
    assert [wanted[edge]["band"] for edge in ("vbm", "cbm")] == [7, 6]
    assert [wanted[edge]["spin"] for edge in ("vbm", "cbm")] == [0, 1]
    for more in ((), ("--electrons", 12)):
        run = ("wavefunction", OXYGEN[code], "--bands", "vbm,cbm", "-o", tmp_path / "w.h5")
        answer = cli(*run, *more, "--overwrite")
        assert answer.code == 0, answer.err
        assert "band7_up, band6_down" in answer.out
        with h5py.File(tmp_path / "w.h5") as file:
            assert file["bands"][()].tolist() == [7, 6]
            assert file["spin_channel"][()].tolist() == [0, 1]
            assert file["eigenvectors"].shape[1] == 2
            edges = [wanted[edge]["energy_eV"] for edge in ("vbm", "cbm")]
            assert np.abs(file["eigenvalues"][0] - edges).max() < 1e-10
    content = json.loads((tmp_path / "w.json").read_text())
    assert content["bands"] == [6, 7]
    up, down = content["energies_eV"]
    assert [level is None for level in up[0] + down[0]] == [True, False, False, True]


def test_band_edges_in_python():
    calc = dock.read(OXYGEN["openmx"])
    gap = bands(calc).gap
    found = coefficients(calc, [0, 0, 0], bands="vbm,cbm")
    wanted = [(edge.band - 1, edge.spin) for edge in (gap.vbm, gap.cbm)]
    channels, places = np.nonzero(found.wanted)
    assert list(zip(found.bands[places], channels, strict=True)) == wanted
    assert coefficients(calc, [0, 0, 0], bands="cbm").names == ["band6_down"]
    mixed = coefficients(calc, [0, 0, 0], bands="7,cbm")
    assert mixed.names == ["band7_up", "band6_down", "band7_down"]
    assert np.abs(mixed.vectors[0, 0, 0]).max() == 0  # band 6 up was not asked for
    ion = coefficients(calc, [0, 0, 0], bands="vbm,cbm", electrons=14)
    assert ion.names == ["band8_up", "band7_down"]


def test_band_edges_without_spin_channels_follow_the_electrons():
    """In a semimetal too, where the Fermi level may pass both bands at the point."""
    calc = dock.read(OPENMX / "graphene-v38")
    for k in ([0, 0, 0], [1 / 3, 1 / 3, 0]):
        assert coefficients(calc, [k], bands="vbm,cbm").names == ["band4", "band5"]
    uncounted = dock.Calculation(
        calc.structure, calc.basis, calc.spin, calc.matrices, calc.fermi_level
    )
    assert coefficients(uncounted, [0.5, 0, 0], bands="vbm,cbm").names == ["band4", "band5"]
    spinors = dock.read(OPENMX / "o2-nc-soc")
    assert coefficients(spinors, [0, 0, 0], bands="vbm,cbm").bands.tolist() == [11, 12]


def test_band_edges_that_there_are_not():
    calc = lattice_models.lattice(1, spin=Spin.COLLINEAR, field=0.1, electrons=1.0)
    with pytest.raises(UsageError, match=r"metal.*bands=4"):
        coefficients(calc.replace(fermi_level=0.0), KMesh.full((4, 1, 1)), bands="vbm")
    with pytest.raises(UsageError, match="filled from empty"):
        coefficients(calc, [0, 0, 0], bands="vbm", electrons=0.5)
    unknown = lattice_models.lattice(1, spin=Spin.COLLINEAR, field=0.1, electrons=None)
    with pytest.raises(MissingDataError, match="electrons=N"):
        coefficients(unknown, [0, 0, 0], bands="vbm")
    for text in ("x", "0", "3-2", "1,,2", ""):
        with pytest.raises(UsageError, match="numbers from 1, ranges, vbm and cbm"):
            BandSelection.parse(text)


def test_the_face_of_coefficients(tmp_path):
    found = coefficients(dock.read(OXYGEN["openmx"]), KMesh.full((2, 1, 1)), bands=[0, 6])
    files = face.holds(found, tmp_path / "w.h5", figure=False)
    content = json.loads(files[1].read_text())
    assert (content["n_kpoints"], content["n_bands"], content["n_states"]) == (2, 2, 4)
    with h5py.File(files[0]) as file:
        assert file["bands"][()].tolist() == [1, 7, 1, 7]
        assert file.attrs["fermi_level_eV"] == file["efermi"][()] == found.fermi_level
    with pytest.raises(UsageError, match="no figure"):
        found.plot(tmp_path / "w.png")
    with pytest.raises(UsageError, match="basis=DIR"):
        found.save(tmp_path / "w.cube")


@pytest.mark.parametrize("kind", ["h5", "cube", "xsf"])
def test_the_face_of_states_on_a_grid(tmp_path, kind):
    calc = model()
    states = states_on_grid(coefficients(calc, [K]), make_grid(calc.structure, (4, 4, 4)))
    files = face.holds(states, tmp_path / f"psi.{kind}", state=1, axis=1)
    content = json.loads(files[-1].read_text())
    assert content["bands"] == list(range(1, 9))
    assert content["states"][0] == "band1"
    assert content["norms"] == states.norms.tolist()
    assert states.json(arrays=False)["energies_eV"] == states.energies.tolist()


def test_grid_files(tmp_path):
    calc = model()
    found = coefficients(calc, [K], bands=[0, 1])
    states = states_on_grid(found, make_grid(calc.structure, (6, 6, 6)))
    names = [file.name for file in states.save(tmp_path / "psi.cube")]
    assert "psi_band1_real.cube" in names
    assert "psi_band2_imag.cube" in names
    from dock.grid.cube_xsf import read_cube
    from dock.units import CODATA2018

    parts = [
        read_cube(tmp_path / f"psi_band1_{kind}.cube")[1] for kind in ("real", "imag", "density")
    ]
    assert np.allclose(parts[0] ** 2 + parts[1] ** 2, parts[2], atol=1e-7)
    scale = CODATA2018.bohr_angstrom**3
    assert np.allclose(parts[2], scale * states.density(0), rtol=1e-4, atol=1e-8)
    states.save(tmp_path / "psi.h5", overwrite=True)
    with h5py.File(tmp_path / "psi.h5") as file:
        assert np.array_equal(file["values"][()], states.values)
    assert states.plot(tmp_path / "psi.png", state=1).stat().st_size > 5000
    states.save(tmp_path / "psi.xsf", overwrite=True)
    assert (tmp_path / "psi.xsf").read_text().count("BEGIN_DATAGRID_3D_band") == 6


@pytest.mark.shared
def test_command(shared, tmp_path):
    pao = shared / "public" / "openmx" / "pao"
    answer = cli(
        "wavefunction", OPENMX / "si", "--mesh", 2, 2, 1, "-o", tmp_path / "c.h5", "--json"
    )
    assert json.loads(answer.out)["n_kpoints"] == 4
    run = ("wavefunction", OPENMX / "o2-nc-soc", "--basis", pao, "--spacing", 0.2)
    answer = cli(*run, "-o", tmp_path / "psi.cube", "--json")
    facts = json.loads(answer.out)
    assert facts["bands"] == [12, 13]
    assert np.allclose(facts["norms"], 1, atol=1e-2)
    assert (tmp_path / "psi_band12_real_down.cube").is_file()
    answer = cli(*run, "--bands", "1,3-4", "--k", 0.25, 0, 0, "-o", tmp_path / "u.h5", "--periodic")
    assert answer.code == 0
    refused(cli(*run, "--bands", "x", "-o", tmp_path / "v.h5"), "--bands")
    refused(cli(*run, "--bands", "900", "-o", tmp_path / "v.h5"), "from 1 to")
    refused(cli(*run, "--mesh", 2, 2, 2, "-o", tmp_path / "v.h5"), "--mesh")


def test_bad_input(tmp_path):
    run = ("wavefunction", OPENMX / "h2o")
    refused(cli(*run, "-o", tmp_path / "x.cube"), "--basis")
    refused(cli(*run, "--grid", 4, 4, 4, "-o", tmp_path / "x.cube"), "--basis")
    refused(cli(*run, "--mesh", 0, 1, 1, "-o", tmp_path / "x.h5"), "mesh")
    calc = dock.read(OPENMX / "h2o")
    found = coefficients(calc, [0, 0, 0])
    with pytest.raises(MissingDataError, match="basis=DIR"):
        states_on_grid(found, make_grid(calc.structure, (4, 4, 4)))
    for numbers in ([], [-1], [500], [1, 1], [0.5]):
        with pytest.raises(UsageError, match="bands"):
            coefficients(calc, [0, 0, 0], bands=numbers)
    for points in ([0, 0], [[np.nan, 0, 0]]):
        with pytest.raises(UsageError, match="three finite"):
            coefficients(calc, points)
    crystal = model()
    own = coefficients(crystal, [0, 0, 0])
    with pytest.raises(UsageError, match="k-points 0 to 0"):
        states_on_grid(own, make_grid(crystal.structure, (4, 4, 4)), kpoint=1)
    with pytest.raises(UsageError, match="16 GB"):
        states_on_grid(own, make_grid(crystal.structure, (900, 900, 900)))
