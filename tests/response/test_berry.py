"""Berry curvature and the Hall conductivity made of it."""

import numpy as np
import pytest
from moved import moved_by_cells, with_signs

import dock
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.grid.grid import read_with_radials
from dock.overlap.assemble import Integrals
from dock.response import anomalous_hall, berry_curvature, spin_texture
from dock.response.curvature import Curvature
from dock.response.hall import CONDUCTANCE
from dock.response.kdata import each
from dock.response.links import Links, angle
from dock.response.operators import Operators
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.kplane import KPlane
from dock.structures import haldane, lattice_model

K = np.array([0.13, 0.21, 0.37])
POINTS = [[0.13, 0.21, 0.37], [0.31, -0.12, 0.07], [0.05, 0.44, 0.22]]

# pyatb 1.1.2, BERRY_CURVATURE of HR, SR and rR written by dock (benchmarks/berry_peer.py), Å².
PYATB = {
    ("fept", "full"): [
        [0.09240031, 0.43300002, 0.59303697],
        [-1.80333811, -0.71948011, 1.58072478],
        [-0.44003874, 0.00620639, -1.82866782],
    ],
    ("fept", "kubo"): [
        [0.07619270, 0.42254310, 0.59934542],
        [-1.82109323, -0.72996468, 1.58443958],
        [-0.44624577, -0.00147901, -1.82470424],
    ],
    ("gaas", "full"): [
        [-0.32286524, -1.83924856, 0.07261777],
        [-1.35718605, 0.25500639, 0.27503054],
        [0.13738478, -0.00973948, 0.83498476],
    ],
}
BANDS = {"fept": "1..18", "gaas": "1..28"}


@pytest.fixture(scope="module")
def systems(shared):
    """SIESTA's FePt with positions from its basis files, OpenMX's GaAs with those of the run."""
    folder = shared / "fixtures/siesta/fept_soc"
    fept = read_with_radials(folder, basis=folder)
    position = Integrals.prepare(fept.structure, fept.basis, pairs=fept.overlap.pairs)
    fept = with_matrices(fept, position=position.matrix("position"))
    gaas = dock.read(shared / "fixtures/openmx/gaas-soc")
    return {"fept": fept, "gaas": with_matrices(gaas, position=gaas.position)}


def with_matrices(calc, **others):
    """The calculation with H, S and others, and nothing else."""
    known = {name: calc.require(name) for name in ("hamiltonian", "overlap")}
    return calc.replace(matrices=known | others)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "method"), PYATB)
def test_it_is_the_peers_curvature(systems, name, method):
    found = berry_curvature(systems[name], POINTS, bands=BANDS[name], method=method)
    np.testing.assert_allclose(found.curvature[0], PYATB[name, method], rtol=0, atol=1.2e-5)


@pytest.mark.shared
def test_positions_from_basis_files_give_that_of_the_runs_own(shared, systems):
    pao = shared / "public/openmx/pao"
    calc = read_with_radials(shared / "fixtures/openmx/gaas-soc", basis=pao)
    calc = calc.replace(matrices={n: calc.require(n) for n in ("hamiltonian", "overlap")})
    found = berry_curvature(calc, POINTS, bands="1..28").curvature
    wanted = berry_curvature(systems["gaas"], POINTS, bands="1..28").curvature
    # OpenMX's r differs from the exact one by 9e-6 Å: its grid in space.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-5)


@pytest.mark.shared
@pytest.mark.parametrize("name", BANDS)
def test_it_is_the_flux_of_links_through_a_small_square(systems, name):
    operators = Operators.of(systems[name], position=True)
    n = int(BANDS[name][3:])
    wanted = berry_curvature(systems[name], [K], bands=BANDS[name]).curvature[0, 0]
    side = 0.01
    axes = np.eye(3) * side @ np.linalg.inv(operators.structure.reciprocal)
    found = [flux(operators, K, axes[a], axes[b], n) / side**2 for a, b in ((1, 2), (2, 0), (0, 1))]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)  # second order in the side


def flux(operators, k, a, b, n):
    """Minus the phase of the links about a square."""
    corners = [k + (x * a + y * b) / 2 for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    vectors = [at.vectors[:, :n] for at in each(operators, corners, lambda at: at)]
    links, product = Links(operators), np.eye(n)
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
        product = product @ links.between(corners[i], vectors[i], corners[j], vectors[j])
    return -angle(product)


@pytest.mark.shared
@pytest.mark.parametrize("code", ["openmx", "abacus", "deeph"])
def test_what_another_code_reads_has_the_same_curvature(systems, tmp_path, code):
    for name, calc in systems.items():
        dock.write(calc, tmp_path / name, format=code)
        back = dock.read(tmp_path / name)
        wanted = berry_curvature(calc, POINTS[:1], bands=BANDS[name]).curvature
        found = berry_curvature(back, POINTS[:1], bands=BANDS[name]).curvature
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.shared
@pytest.mark.parametrize("name", BANDS)
def test_neither_cells_nor_signs_of_orbitals_change_it(systems, name, rng):
    calc = systems[name]
    here = berry_curvature(calc, POINTS[:1], bands=BANDS[name]).curvature
    moved = moved_by_cells(calc, [[0, 1, -1], [1, -2, 0]])
    signed = with_signs(calc, rng)
    for other in (moved, signed):
        found = berry_curvature(other, POINTS[:1], bands=BANDS[name]).curvature
        np.testing.assert_allclose(found, here, rtol=0, atol=1e-9)


@pytest.mark.shared
def test_all_bands_together_have_the_curl_of_the_basis_and_full_pairs_cancel(systems):
    operators = Operators.of(systems["fept"], position=True)
    at = next(each(operators, [K], lambda data: data))
    terms = Curvature.of(at, at.n_states)
    full = np.ones(at.n_states)
    np.testing.assert_array_equal(terms.summed(full), full @ terms.own.T)
    filled = np.r_[np.ones(18), np.zeros(18)]
    np.testing.assert_allclose(
        terms.summed(filled), terms.of_states()[:18].sum(axis=0), rtol=0, atol=1e-9
    )


@pytest.mark.shared
def test_a_set_that_cuts_a_level_is_refused(shared):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    with pytest.raises(UsageError, match=r"cuts a level in two.*bands='\d+..\d+'") as caught:
        berry_curvature(calc, [[0, 0, 0]], bands="1..27")
    assert "k = (0, 0, 0)" in str(caught.value)


def test_without_positions_or_levels_it_is_said_what_to_do():
    calc = dock.read("fixtures/openmx/si")
    bare = calc.replace(matrices={n: calc.matrices[n] for n in ("hamiltonian", "overlap")})
    with pytest.raises(MissingDataError, match="position matrix"):
        berry_curvature(bare, [K])
    with pytest.raises(MissingDataError, match="Fermi level"):
        berry_curvature(lattice_model(np.eye(3), [[0, 0, 0]], []), [K])
    with pytest.raises(UsageError, match="'full' or 'kubo'"):
        berry_curvature(calc, [K], method="exact")
    with pytest.raises(UsageError, match="there are 10 bands"):
        berry_curvature(calc, [K], bands="8..11")


def test_silicon_has_none_and_collinear_channels_are_apart(bundled):
    found = berry_curvature(dock.read("fixtures/openmx/si"), [K])
    assert np.abs(found.curvature).max() < 1e-8
    both = berry_curvature(dock.read(bundled / "openmx/o2-spin"), [[0, 0, 0]], fermi_level=-6.0)
    assert both.curvature.shape == (2, 1, 3)


def test_a_plane_has_a_map_a_flux_and_a_chern_number(tmp_path):
    found = berry_curvature(haldane(mass=0.2), KPlane.of((1, 2), points=16), bands="1")
    assert found.chern == -1
    assert found.flux == pytest.approx(-1, abs=1e-4)
    assert found.plot(tmp_path / "map.png").stat().st_size > 1000
    back = berry_curvature(haldane(mass=0.2), KPlane.of((2, 1), points=16), bands="1")
    assert (back.chern, round(back.flux, 4)) == (1, 1)
    touching = berry_curvature(haldane(t2=0), KPlane.of((1, 2), points=6), fermi_level=0.1)
    assert touching.chern is None


def test_a_path_is_drawn_and_a_list_is_not(tmp_path):
    calc = haldane()
    found = berry_curvature(calc, "auto", bands="1")
    assert found.plot(tmp_path / "path.png").stat().st_size > 1000
    with pytest.raises(UsageError, match="along a path or over a plane"):
        berry_curvature(calc, [K], bands="1").plot(tmp_path / "list.png")


# -------------------------------------------------------------------------------------- Hall


@pytest.mark.parametrize("reduction", ["none", "point-group"])
def test_haldanes_insulator_has_a_conductance_of_one_quantum_for_each_spin(reduction):
    calc = haldane()
    mesh = make_mesh(calc, (18, 18, 1), reduction=reduction)
    found = anomalous_hall(calc, mesh, fermi_level=0.0)
    sheet = found.conductivity[2] * np.linalg.norm(calc.structure.cell[2]) * 1e-8 / 2
    # Chern number −1 (tests of links), σ_xy = −(e²/h) C; the mesh converges exponentially.
    assert sheet == pytest.approx(CONDUCTANCE / (2 * np.pi), rel=1e-4)
    assert found.change is not None
    assert abs(found.change[2]) < 0.02 * abs(found.conductivity[2])


@pytest.mark.shared
def test_the_hall_conductivity_is_the_peers_with_the_sign_of_electrons(systems):
    found = anomalous_hall(systems["fept"], KMesh.full((6, 6, 6)))
    # pyatb 1.1.2 prints −2311.902480 for the two: e²/ħ ∫ f Ω, without the minus sign.
    wanted = [2311.902480, 2311.902480, 0.0]
    np.testing.assert_allclose(found.conductivity, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.shared
def test_symmetry_changes_nothing_of_the_hall_conductivity(systems):
    calc = systems["fept"]
    level = calc.fermi_level
    whole = anomalous_hall(calc, KMesh.full((4, 4, 4)), energies=[-0.5], temperature=3000)
    mesh = make_mesh(calc, (4, 4, 4), tolerance=2e-3)
    assert mesh.n_points < 30
    found = anomalous_hall(calc, mesh, energies=[-0.5], temperature=3000)
    np.testing.assert_allclose(found.conductivity, whole.conductivity, rtol=0, atol=0.5)
    np.testing.assert_allclose(found.scan, whole.scan, rtol=0, atol=0.5)
    assert abs(whole.conductivity[0]) > 20  # the moment lies along [110]
    lower = anomalous_hall(calc, mesh, fermi_level=level - 0.5, temperature=3000)
    np.testing.assert_allclose(lower.conductivity, found.scan[0], rtol=0, atol=1e-9)


def test_peaks_are_refined_as_a_finer_mesh_has_them():
    calc = haldane(mass=0.7)
    coarse = KMesh.full((6, 6, 1))
    refined = anomalous_hall(calc, coarse, fermi_level=0.0, refine=3, refine_above=-1.0)
    # Points about each of the coarse ones, and the coarse ones: the mesh of three times the size.
    whole = anomalous_hall(calc, KMesh.full((18, 18, 1)), fermi_level=0.0)
    assert refined.refined == pytest.approx(1)
    np.testing.assert_allclose(refined.conductivity, whole.conductivity, rtol=0, atol=1e-6)
    some = anomalous_hall(calc, coarse, fermi_level=0.0, refine=3, refine_above=20.0)
    assert 0 < some.refined < 1


@pytest.mark.parametrize("removal", ["project", "orbital"])
def test_the_finer_mesh_leaves_out_the_same_dependent_orbitals(bundled, removal):
    calc = dock.read(bundled / "openmx/o2-nc-soc")
    settings = {"fermi_level": -6.8, "s_threshold": 0.2, "solver": Job("dense", removal=removal)}
    fine = anomalous_hall(calc, KMesh.full((1, 6, 1)), **settings).conductivity
    coarse = KMesh.full((1, 2, 1))
    refined = anomalous_hall(calc, coarse, refine=3, refine_above=-1.0, **settings).conductivity
    np.testing.assert_allclose(refined, fine, rtol=0, atol=1e-9)
    whole = anomalous_hall(calc, coarse, refine=3, refine_above=-1.0, fermi_level=-6.8)
    assert np.abs(whole.conductivity - fine).max() > 1e-3


def test_a_level_that_is_not_that_of_the_electrons_is_told(caplog):
    found = anomalous_hall(haldane(), (6, 6, 1), fermi_level=0.0)
    assert found.counted == pytest.approx(2)
    assert not caplog.records
    outside = anomalous_hall(haldane(), (6, 6, 1), fermi_level=5.0)
    assert outside.counted == pytest.approx(4)
    assert "4.0000 electrons lie below 5.000000 eV" in caplog.text


def test_a_scan_is_drawn_and_a_spinless_run_is_refused(tmp_path):
    found = anomalous_hall(haldane(), (6, 6, 1), fermi_level=0.0, energies=np.linspace(-1, 1, 5))
    assert found.plot(tmp_path / "scan.png").stat().st_size > 1000
    calc = dock.read("fixtures/openmx/si")
    with pytest.raises(ConventionError, match="zero by symmetry"):
        anomalous_hall(calc, (2, 2, 2))
    bad = ({"refine": 2}, {"refine_above": np.nan}, {"temperature": -1.0}, {"fermi_level": np.nan})
    for wrong in bad:
        with pytest.raises(UsageError):
            anomalous_hall(haldane(), (2, 2, 1), **{"fermi_level": 0.0, **wrong})


@pytest.mark.shared
def test_a_level_in_the_bands_of_an_insulator_is_not_filled_up_to(systems, caplog):
    """OpenMX puts the level of GaAs 0.23 eV into the conduction band: its electrons do not."""
    calc, near = systems["gaas"], [[-0.0109, -0.0109, 0.0]]
    found = berry_curvature(calc, near)
    assert "lies in the bands" in caplog.text
    filled = berry_curvature(calc, near, bands="1..28")
    np.testing.assert_allclose(found.curvature, filled.curvature, rtol=0, atol=1e-9)
    given = berry_curvature(calc, near, fermi_level=calc.fermi_level)
    assert np.abs(given.curvature - filled.curvature).max() > 1
    texture = spin_texture(calc, "LG", bands="27..28")
    assert texture.fermi_level == pytest.approx(found.fermi_level, abs=1e-9)


@pytest.mark.shared
def test_time_reversal_makes_it_zero_and_that_is_said(systems):
    found = anomalous_hall(systems["gaas"], make_mesh(systems["gaas"], (2, 2, 2)))
    np.testing.assert_allclose(found.conductivity, 0, atol=1e-12)
    assert ("symmetry", "time reversal makes it zero") in found.rows()
