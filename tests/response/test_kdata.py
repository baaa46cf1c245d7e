"""Matrix elements between states, and sums of them over meshes."""

import dataclasses

import numpy as np
import pytest
from moved import moved_by_cells

import dock
from dock.core.position import position_error
from dock.core.structure import Structure
from dock.errors import ConventionError, MissingDataError
from dock.response.kdata import each, level_ranges
from dock.response.mesh_sum import half_weights, mesh_sum
from dock.response.operators import Operators, midpoint_position
from dock.states.job import Job, PartDone, Planned
from dock.states.kmesh import KMesh

K = np.array([0.13, 0.21, 0.37])
REAL = ["abacus/si2", "openmx/si", "siesta/fept_soc"]


def data(operators, k=K):
    """The data of one k-point."""
    return next(each(operators, [k], lambda at: at))


def read(shared, name):
    calc = dock.read(shared / "fixtures" / name)
    return Operators.of(calc, position="position" in calc.available)


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_slopes_are_those_of_the_bands(shared, name):
    operators = read(shared, name)
    here = data(operators)
    slopes = [np.diag(matrix).real for matrix in here.slope_matrix()]
    steps = np.eye(3) * 1e-5 @ np.linalg.inv(operators.structure.reciprocal)
    for axis, step in enumerate(steps):
        ahead, behind = (data(operators, K + sign * step).energies for sign in (1, -1))
        # FePt has pairs of levels close to one another: a step of 1e-5/Å then ends within 1e-4.
        np.testing.assert_allclose(slopes[axis], (ahead - behind) / 2e-5, rtol=0, atol=2e-4)


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL[:2])
def test_velocity_is_hermitian_and_the_commutator_with_the_position(shared, name):
    operators = read(shared, name)
    here = data(operators)
    velocity = here.velocity()
    np.testing.assert_allclose(velocity, velocity.conj().swapaxes(1, 2), rtol=0, atol=1e-11)
    some = slice(2, 5), slice(1, 4)
    np.testing.assert_allclose(here.velocity(*some), velocity[:, some[0], some[1]], atol=1e-12)
    # In the basis of orbitals: v = ∂H − E_n ∂S + i (E_m − E_n) D with D = r(k)†, the stored r.
    stored = operators.calc.position.k(K)
    connection = here.between(stored.conj().swapaxes(1, 2))
    E = here.energies
    plain = here.between(here.hamiltonian_gradient) - E * here.between(here.overlap_gradient)
    direct = plain + 1j * (E[:, None] - E) * connection
    noise = position_error(operators.calc.position, operators.calc.overlap)
    np.testing.assert_allclose(velocity, direct, rtol=0, atol=60 * (noise + 1e-12) * np.ptp(E))


@pytest.mark.shared
def test_nothing_depends_on_the_cell_that_an_atom_is_written_in(shared):
    calc = dock.read(shared / "fixtures/abacus/si2")
    here = data(Operators.of(calc, position=True))
    moved = data(Operators.of(moved_by_cells(calc, [[0, 0, 0], [1, -2, 0]]), position=True))
    np.testing.assert_allclose(moved.energies, here.energies, rtol=0, atol=1e-10)
    for one, other in zip(moved.velocity(), here.velocity(), strict=True):
        np.testing.assert_allclose(abs(one), abs(other), rtol=0, atol=1e-9)


def test_levels_of_one_energy_are_one_range():
    found = level_ranges(np.array([0.0, 1.0, 1.0 + 5e-6, 1.0 + 1e-5, 2.0]))
    assert found == [slice(0, 1), slice(1, 4), slice(4, 5)]


def test_without_positions_it_is_said_how_to_get_them():
    calc = dock.read("fixtures/openmx/si")
    bare = calc.replace(matrices={n: calc.matrices[n] for n in ("hamiltonian", "overlap")})
    with pytest.raises(MissingDataError, match="position matrix") as caught:
        Operators.of(bare, position=True)
    assert "basis" in str(caught.value)
    with pytest.raises(MissingDataError, match=r"Operators.of\(position=True\)"):
        data(Operators.of(bare)).velocity()


def test_spin_needs_spinors():
    operators = Operators.of(dock.read("fixtures/openmx/si"))
    with pytest.raises(ConventionError, match="spin texture needs states with spin directions"):
        operators.require_spinor("spin texture")


def test_positions_of_another_overlap_are_refused():
    calc = dock.read("fixtures/openmx/si")
    wrong = calc.position.with_entries(1.5 * calc.position.entries)
    with pytest.raises(dock.errors.LayoutError, match="no positions of this overlap"):
        midpoint_position(wrong, calc.overlap)


# ------------------------------------------------------------------------------------ sums


def energies(at):
    """A function that is summed."""
    return {"energies": at.energies[:4].copy(), "squares": at.energies[:4] ** 2}


@pytest.fixture(scope="module")
def silicon():
    return Operators.of(dock.read("fixtures/openmx/si"))


def test_a_sum_is_the_mean_over_the_mesh_and_over_half_of_it(silicon):
    mesh = KMesh.full((4, 2, 1))
    found = mesh_sum(silicon, mesh, energies, "energies")
    for points, sums in ((mesh, found.whole), (KMesh.full((2, 1, 1)), found.half)):
        wanted = np.mean([data(silicon, k).energies[:4] for k in points.points], axis=0)
        np.testing.assert_allclose(sums["energies"][0], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shift", ["gamma", (1, 0, 0)])
def test_half_of_a_mesh_has_gamma(shift):
    mesh = KMesh.full((4, 6, 1), shift)
    chosen = np.mod(mesh.points[half_weights(mesh) > 0], 1)
    expected = np.mod(KMesh.full((2, 3, 1)).points, 1)
    assert {tuple(k.round(9)) for k in chosen} == {tuple(k.round(9)) for k in expected}
    assert half_weights(mesh).sum() == pytest.approx(1)


@pytest.mark.parametrize("mesh", [KMesh.full((3, 2, 1)), KMesh.full((2, 2, 2), "monkhorst-pack")])
def test_some_meshes_have_no_half(silicon, mesh):
    assert half_weights(mesh) is None
    assert mesh_sum(silicon, mesh, energies, "energies").half is None


def test_a_sum_that_was_interrupted_goes_on_to_the_same_bits(silicon, tmp_path):
    mesh = KMesh.full((3, 3, 1))
    whole = mesh_sum(silicon, mesh, energies, "energies", jobs=1)
    calls = []

    def stops(at):
        calls.append(at.number)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return energies(at)

    job = Job(folder=tmp_path / "kept", shard=(0, 1), stays=True)
    with pytest.raises(KeyboardInterrupt):
        mesh_sum(silicon, mesh, stops, "energies", solver=job, jobs=1)
    calls = []

    def counted(at):
        calls.append(at.number)
        return energies(at)

    again = mesh_sum(silicon, mesh, counted, "energies", solver=job, jobs=1)
    assert 0 < len(calls) < 9
    assert np.array_equal(again.whole["energies"], whole.whole["energies"])
    other = mesh_sum(silicon, mesh, counted, "other words", solver=job, jobs=1)
    assert len(calls) >= 9  # another question finds nothing
    assert np.array_equal(other.whole["squares"], whole.whole["squares"])


def test_shards_share_a_sum(silicon, tmp_path):
    mesh = KMesh.full((3, 1, 1))
    with pytest.raises(PartDone):
        mesh_sum(silicon, mesh, energies, "e", solver=Job(folder=tmp_path / "k", shard=(0, 2)))
    found = mesh_sum(silicon, mesh, energies, "e", solver=Job(folder=tmp_path / "k", shard=(1, 2)))
    wanted = mesh_sum(silicon, mesh, energies, "e")
    assert np.array_equal(found.whole["energies"], wanted.whole["energies"])


def test_a_sum_can_be_planned(silicon):
    with pytest.raises(Planned) as caught:
        mesh_sum(silicon, KMesh.full((3, 1, 1)), energies, "e", solver=Job(dry_run=True))
    assert caught.value.n_problems == 3


@pytest.mark.shared
def test_spin_channels_are_summed_one_by_one(shared):
    operators = Operators.of(dock.read(shared / "fixtures/siesta/fe_bcc/fe_bcc.v2.HSX"))
    found = mesh_sum(operators, KMesh.full((2, 1, 1)), energies, "e")
    assert found.whole["energies"].shape == (2, 4)
    both = list(each(operators, [[0, 0, 0], [0.5, 0, 0]], lambda at: at.energies[:4]))
    np.testing.assert_allclose(found.whole["energies"][1], np.mean(both[2:], axis=0), atol=1e-11)


def test_a_sum_takes_out_what_the_job_says(silicon):
    """Without orbitals, or without combinations of them: other energies, which each must have."""
    points, sums = KMesh.full((2, 1, 1)), {}
    for removal in ("project", "orbital"):
        how = {"solver": Job(removal=removal), "s_threshold": 5e-2}
        wanted = np.mean(list(each(silicon, points.points, energies_of, **how)), axis=0)
        found = mesh_sum(silicon, points, energies, "e", **how).whole["energies"][0]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
        sums[removal] = found
    assert np.abs(sums["project"] - sums["orbital"]).max() > 1e-6


def energies_of(at):
    """The energies that are summed."""
    return energies(at)["energies"]


def test_parts_of_a_sum_belong_to_their_cell(tmp_path):
    """H and S do not know how long the lattice vectors are; derivatives by k do."""
    calc, found = dock.read("fixtures/openmx/si"), []

    def slopes(at):
        return {"slopes": np.abs(np.einsum("ann->an", at.slope_matrix())).sum(axis=1)}

    for scale in (1.1, 1.0):
        cell = scale * calc.structure.cell
        positions = scale * calc.structure.positions
        other = Structure(cell, positions, calc.structure.numbers, labels=calc.structure.labels)
        matrices = {}
        for name in ("hamiltonian", "overlap"):
            old = calc.require(name)
            parts = old.basis, old.pairs, old.spin, old.entries
            matrices[name] = type(old)(name, other, *parts)
        operators = Operators.of(dataclasses.replace(calc, structure=other, matrices=matrices))
        job = Job(folder=tmp_path / "kept", stays=True, shard=(0, 1))
        points = KMesh.full((2, 1, 1), (0.3, 0.1, 0.2))
        found.append(mesh_sum(operators, points, slopes, "s", solver=job))
    ratio = found[0].whole["slopes"] / found[1].whole["slopes"]
    np.testing.assert_allclose(ratio, 1.1, rtol=1e-9)
