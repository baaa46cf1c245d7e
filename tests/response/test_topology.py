"""Chern numbers, Wilson loops, Z₂ and charges of nodes."""

import itertools

import numpy as np
import pytest
from moved import moved_by_cells, with_signs

import dock
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.response import chern_number, chirality, wilson_loop, z2_indices
from dock.states.kplane import KPlane
from dock.structures import haldane, kane_mele, lattice_model


@pytest.mark.parametrize(
    ("settings", "chern"),
    [({}, -1), ({"phi": -np.pi / 2}, 1), ({"phi": 1.0, "mass": 0.3}, -1), ({"mass": 1.0}, 0)],
)
def test_haldanes_lower_band_has_the_chern_number_of_its_phase(settings, chern):
    calc = haldane(**settings)
    found = chern_number(calc, points=8)
    assert found.chern == chern
    # The fluxes add up to a whole number exactly, not only nearly.
    assert found.fluxes.sum() == pytest.approx(chern, abs=1e-12)
    assert chern_number(calc, points=8, bands="2").chern == -chern
    assert chern_number(calc, (2, 1), points=8).chern == -chern
    loops = wilson_loop(calc, points=10)
    assert loops.chern == chern
    np.testing.assert_array_equal(loops.centres[:, 0], loops.centres[:, -1])


def test_spins_apart_have_opposite_numbers_and_all_bands_none():
    calc = kane_mele(rashba=0.0, mass=0.0)
    assert chern_number(calc, points=8).chern == 0
    for bands in ("1..4", "1..2"):
        assert chern_number(calc, points=8, bands=bands).chern == 0


@pytest.mark.shared
def test_numbers_of_all_bands_of_a_real_magnet_add_up_to_nothing(shared, fept):
    plane = KPlane.of((1, 3), at=(0, 0.25, 0), points=10)
    whole = chern_number(fept, plane, bands="1..36")
    assert np.abs(whole.fluxes.sum()) < 1e-9
    edges = [0, 18, 36]  # what stands apart on this plane
    ranges = [f"{a + 1}..{b}" for a, b in itertools.pairwise(edges)]
    parts = [chern_number(fept, plane, bands=bands).chern for bands in ranges]
    assert sum(parts) == 0


@pytest.fixture(scope="module")
def fept(shared):
    from dock.grid.grid import read_with_radials
    from dock.overlap.assemble import Integrals

    folder = shared / "fixtures/siesta/fept_soc"
    calc = read_with_radials(folder, basis=folder)
    position = Integrals.prepare(calc.structure, calc.basis, pairs=calc.overlap.pairs)
    known = {name: calc.require(name) for name in ("hamiltonian", "overlap")}
    return calc.replace(matrices=known | {"position": position.matrix("position")})


def test_bands_that_touch_are_refused_and_the_set_that_would_do_is_said():
    calc = kane_mele(rashba=0.0, mass=0.0)  # every band is twofold
    with pytest.raises(ConventionError, match=r"bands 1 and 2; they touch.*bands='1..2'"):
        chern_number(calc, points=4, bands="1")
    graphene = haldane(t2=0.0)
    with pytest.raises(ConventionError, match=r"empty ones begin \(.*\): a semimetal"):
        chern_number(graphene, points=6)


def test_a_metal_is_refused():
    metal = lattice_model(np.eye(3) * 3, [[0, 0, 0]], [(0, 0, (1, 0, 0), -1.0)], electrons=1)
    with pytest.raises(ConventionError, match=r"electrons fill 0.5 bands: a metal"):
        chern_number(metal, points=4)
    sites = [(0, 0, (1, 0, 0), -1.0), (1, 1, (1, 0, 0), -1.0), (1, 1, (0, 0, 0), 0.5)]
    overlapping = lattice_model(np.eye(3) * 3, [[0, 0, 0], [0.5, 0, 0]], sites, electrons=2)
    with pytest.raises(
        ConventionError,
        match=r"overlap by 3\.50 eV \(band 1 ends at k = \(0\.5, 0, 0\), band 2 begins at k = "
        r"\(0, 0, 0\)\): a metal\. A Wilson loop needs an insulator; for",
    ):
        wilson_loop(overlapping, points=8)
    assert wilson_loop(overlapping, points=8, bands="1").chern == 0
    with pytest.raises(MissingDataError, match="electrons"):
        chern_number(lattice_model(np.eye(3) * 3, [[0, 0, 0]], []), points=4)


@pytest.mark.parametrize(("mass", "z2"), [(0.1, 1), (0.6, 0)])
def test_kane_mele_is_topological_until_the_mass_wins(mass, z2):
    found = wilson_loop(kane_mele(mass=mass), points=18, z2=True)
    assert found.z2 == z2
    # At both ends the centres come in pairs, and in between they are smooth.
    for end in (found.centres[0, 0], found.centres[0, -1]):
        apart = np.abs(end[1] - end[0])
        assert min(apart, 1 - apart) < 1e-6
    assert found.largest_step < 0.3
    finer = wilson_loop(kane_mele(mass=mass), points=36, z2=True)
    assert finer.z2 == z2
    assert finer.largest_step < 0.65 * found.largest_step
    assert found.chern is None


def test_four_planes_tell_a_stack_of_sheets_by_its_weak_index(tmp_path):
    found = z2_indices(kane_mele(), points=8)
    assert found.indices == (0, 0, 0, 1)
    assert found.json()["z2"] == [0, 0, 0, 1]
    assert found.plot(tmp_path / "z2.png").stat().st_size > 1000
    assert found.save(tmp_path / "z2.h5")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"points": 9}, UsageError, "an even number of points along b2; found 9"),
        ({"at": (0, 0, 0.3)}, UsageError, "coordinates 0 and 1/2"),
        ({"bands": "1..3"}, ConventionError, "cut one"),
        ({"plane": KPlane.of((1, 2), points=8, extent=0.5)}, UsageError, "extent=1"),
    ],
)
def test_what_has_no_z2_is_refused(change, kind, words):
    with pytest.raises(kind, match=words):
        wilson_loop(kane_mele(), **{"points": 8, "z2": True, **change})


@pytest.mark.shared
def test_a_magnet_and_a_spinless_run_have_no_z2(fept):
    with pytest.raises(ConventionError, match="lacks: a magnet"):
        wilson_loop(fept, points=4, bands="1..18", z2=True)
    with pytest.raises(ConventionError, match="needs states with spin directions"):
        wilson_loop(haldane(), points=4, z2=True)


@pytest.mark.shared
def test_gallium_arsenide_is_trivial_with_its_own_overlap(shared):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    found = wilson_loop(calc, (1, 2), points=8, z2=True)
    assert found.z2 == 0
    assert found.gap > 0.3


@pytest.mark.shared
def test_neither_cells_nor_signs_of_orbitals_move_the_centres(shared, rng):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    known = {n: calc.require(n) for n in ("hamiltonian", "overlap", "position")}
    calc = calc.replace(matrices=known)
    settings = {"points": 6, "bands": "1..28"}
    here = wilson_loop(calc, (1, 3), at=(0, 0.2, 0), **settings)
    moved = moved_by_cells(calc, [[0, 1, -1], [1, -2, 0]])
    for other in (moved, with_signs(calc, rng)):
        there = wilson_loop(other, (1, 3), at=(0, 0.2, 0), **settings)
        apart = np.sort(np.mod(there.centres, 1)) - np.sort(np.mod(here.centres, 1))
        np.testing.assert_allclose(apart - np.rint(apart), 0, atol=1e-9)


def weyl(sign=1):
    """Two nodes at k = (0, 0, ±1/4) of opposite charge: σ_x sin x + σ_y sin y + σ_z (…)."""
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    terms = [
        (0, 0, (0, 0, 0), 2 * pauli[2]),
        (0, 0, (1, 0, 0), pauli[0] / 2j - pauli[2] / 2),
        (0, 0, (0, 1, 0), sign * pauli[1] / 2j - pauli[2] / 2),
        (0, 0, (0, 0, 1), -pauli[2] / 2),
    ]
    return lattice_model(np.eye(3) * 3, [[0, 0, 0]], terms, spinor=True, electrons=1)


@pytest.mark.parametrize("sign", [1, -1])
def test_nodes_have_opposite_charges_and_planes_between_them_a_chern_number(sign):
    # Near the nodes H ≈ q_x σ_x + s q_y σ_y ± q_z σ_z.
    calc = weyl(sign)
    charges = [
        chirality(calc, (0, 0, z), bands="1", radius=0.2, points=5).chern for z in (0.25, -0.25)
    ]
    assert charges[0] == -charges[1] != 0
    # The flux out of a node is the change of the Chern number across it, k_z ascending.
    planes = [chern_number(calc, at=(0, 0, z), points=8, bands="1").chern for z in (0.0, 0.5)]
    assert planes[1] - planes[0] == charges[0]
    # Monopole of the lower band of +q·σ: Ω = +q/2|q|³ with A = i⟨u|∂u⟩.
    assert charges[0] == sign
    with pytest.raises(UsageError, match="positive radius"):
        chirality(calc, (0, 0, 0.25), bands="1", radius=0)


def test_results_are_saved_with_known_keys_and_drawn(tmp_path):
    found = wilson_loop(haldane(), points=8)
    assert found.plot(tmp_path / "loops.png").stat().st_size > 1000
    files = found.save(tmp_path / "wilson.h5")
    assert [file.name for file in files] == ["wilson.h5", "wilson.json"]
    facts = chern_number(haldane(), points=8).json()
    assert facts["chern"] == -1
    assert len(facts["fluxes"][0]) == 8
