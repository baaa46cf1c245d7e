"""Every quantity from a solver that gives a part of the spectrum is what all states give.

Nothing may make a full matrix on these ways: what would is an error here.
"""

import numpy as np
import pytest
import samples
from part_solver import PartOnly, no_dense

import dock
from dock.errors import UsageError
from dock.post import bands, dos
from dock.post.band_structure import Selection
from dock.post.density_grid import window_density_matrix
from dock.post.fat_bands import fat_bands, project_bands
from dock.post.fermi import fermi_level
from dock.post.population import populations
from dock.post.unfold import unfold
from dock.post.wavefunction import coefficients
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import Smearing

PATH = {"path": "LGX", "points": 5}
WINDOW = (-4.0, 4.0)


@pytest.fixture
def si():
    return dock.read(samples.OPENMX / "si")


@pytest.fixture
def part(monkeypatch):
    """Return the solver, and let all that knows small from large take the system for large."""
    no_dense(monkeypatch)
    monkeypatch.setattr("dock.core.kspace._FULL_LIMIT", 0)
    monkeypatch.setattr("dock.post.density_matrices._FULL", 0)
    monkeypatch.setattr("dock.post.band_structure.CORNER_LIMIT", 0)
    monkeypatch.setattr("dock.post.fat_bands.CORNER_LIMIT", 0)
    return PartOnly()


@pytest.fixture(scope="module")
def every():
    return bands(dock.read(samples.OPENMX / "si"), **PATH)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(dock.read(samples.OPENMX / "si"), (3, 3, 3))


@pytest.fixture(scope="module")
def small():
    return make_mesh(dock.read(samples.OPENMX / "si"), (2, 2, 2))


def same_gap(some, every):
    """Assert that two gaps have the same edges."""
    for edge in ("vbm", "cbm"):
        mine, theirs = getattr(some, edge), getattr(every, edge)
        assert (mine.band, mine.spin) == (theirs.band, theirs.spin)
        assert mine.energy == pytest.approx(theirs.energy, abs=1e-9)
    assert (some.kind, some.size) == (every.kind, pytest.approx(every.size, abs=1e-9))
    assert some.direct == pytest.approx(every.direct, abs=1e-9)


class TestBands:
    def test_window(self, si, every, part):
        some = bands(si, **PATH, selection=Selection(WINDOW), solver=part)
        place = slice(some.n_below, some.n_below + some.energies.shape[2])
        inside = np.isfinite(some.energies)
        np.testing.assert_allclose(some.energies[inside], every.energies[..., place][inside])
        assert some.n_below == 1
        assert (some.gap.vbm.band, some.gap.cbm.band) == (4, 5)
        same_gap(some.gap, every.gap)
        assert some.difference(every).largest < 1e-9
        facts = some.facts()
        assert (facts["n_below"], facts["first_band"]) == (1, 2)
        assert facts["n_certified"] == every.path.n_kpoints
        assert facts["largest_residual_eV"] == 1e-9
        found = inside.sum(axis=2)
        np.testing.assert_array_equal(some.datasets()["states_found"], found)
        np.testing.assert_array_equal(some.datasets()["states_counted"], found)
        assert "numbers 2 to" in some.table()

    def test_a_window_is_about_the_middle_of_the_gap_that_electrons_tell(self, si, every, part):
        """The stored level lies in the bands: what was found about it is not the window asked."""
        calc = si.replace(fermi_level=every.gap.vbm.energy - 0.3)
        asked = Selection((-2.0, 3.0))
        some = bands(calc, "LGX", points=40, selection=asked, solver=part)
        assert (some.gap.fermi_source, some.gap.stored) == ("mid-gap", calc.fermi_level)
        assert some.reference == 0.5 * (some.gap.vbm.energy + some.gap.cbm.energy)
        low, high = some.window
        assert low + 2.0 < some.reference < high - 3.0
        assert high - some.reference - 3.0 == pytest.approx(some.reference - low - 2.0)
        assert part.calls == 2 * (some.path.n_kpoints - 1)  # the corner Γ is solved once

    def test_a_level_that_is_given_moves_no_window(self, si, every, part):
        level = every.gap.vbm.energy - 0.3
        some = bands(si, **PATH, selection=Selection((-2, 3)), solver=part, fermi_level=level)
        assert (some.reference, part.calls) == (level, some.path.n_kpoints - 1)

    def test_states(self, si, every, part):
        some = bands(si, **PATH, selection=Selection(states=3, around=1.5), solver=part)
        assert np.isfinite(some.energies).sum(axis=2).tolist() == [[3] * every.path.n_kpoints]
        level = si.fermi_level + 1.5
        for row, whole in zip(some.energies[0], every.energies[0], strict=True):
            nearest = np.sort(whole[np.argsort(np.abs(whole - level))[:3]])
            np.testing.assert_allclose(row[np.isfinite(row)], nearest)

    def test_a_gap_is_not_claimed_where_a_k_point_has_states_on_one_side_alone(self, si, part):
        two = bands(si, **PATH, selection=Selection(states=2, around=3.0), solver=part)
        assert two.gap.kind == "unknown"
        assert two.gap.vbm is None

    def test_a_metal_is_seen_where_the_count_below_the_level_changes(self, si, every, part):
        # The level crosses band 4; a narrow window has it at some k-points alone.
        level = float(np.median(every.energies[0, :, 3]))
        calc = si.replace(fermi_level=level)
        narrow = bands(calc, **PATH, selection=Selection((-0.3, 0.3)), solver=part)
        assert not np.isfinite(narrow.energies).all()
        assert narrow.gap.kind == "metal"

    def test_shares_come_in_the_same_pass(self, si, every, part):
        fat = fat_bands(si, **PATH, by="l", selection=Selection(WINDOW), solver=part)
        assert part.calls == every.path.n_kpoints - 1
        assert fat.bands.n_below == 1
        inside = np.isfinite(fat.bands.energies)
        np.testing.assert_allclose(fat.weights[inside].sum(axis=-1), 1)

    def test_shares_are_those_of_all_states(self, si, every, part, monkeypatch):
        fat = fat_bands(si, **PATH, by="l", selection=Selection(WINDOW), solver=part)
        monkeypatch.undo()
        whole = project_bands(si, every, "l")
        place = slice(1, 1 + fat.bands.energies.shape[2])
        # Degenerate states share theirs in any way; the sum over spin channels and bands does not.
        inside = np.isfinite(fat.bands.energies)[..., None]
        np.testing.assert_allclose(
            np.where(inside, fat.weights, 0).sum(axis=2),
            np.where(inside, whole.weights[:, :, place], 0).sum(axis=2),
            atol=1e-9,
        )

    def test_compared(self, si, part):
        both = bands(si, **PATH, selection=Selection(WINDOW), compare=si, solver=part)
        difference = both.facts()["difference_eV"]
        assert (difference["max"], difference["mean"], difference["shift"]) == (0, 0, 0)
        assert difference["n_levels"] > 0


METHODS = [Smearing(), Smearing("cold", 0.1), "tetrahedra"]


class TestFermiLevel:
    @pytest.mark.parametrize("method", METHODS, ids=str)
    @pytest.mark.parametrize("electrons", [8, 7.3])
    def test_solid(self, si, mesh, part, monkeypatch, method, electrons):
        settings = {"mesh": mesh, "smearing": method, "electrons": electrons}
        # Found wherever the search begins, without a level as well.
        found = [
            fermi_level(si.replace(fermi_level=guess), **settings, states=6, solver=part)
            for guess in (si.fermi_level, si.fermi_level - 9)
        ]
        monkeypatch.undo()
        every = fermi_level(si, **settings)
        for some in found:
            assert some.spectrum.is_part
            assert some.level == pytest.approx(every.level, abs=1e-8)
            assert some.counted == pytest.approx(electrons, abs=1e-8)
            assert some.gap.kind == every.gap.kind
            assert some.gap.size == pytest.approx(every.gap.size, abs=1e-9)
            assert some.band_energy is None
            assert some.tail < 1e-6

    @pytest.mark.parametrize("name", ["o2-spin", "o2-nc-soc"])
    @pytest.mark.parametrize("offset", [0, 7, -30])
    def test_spin(self, part, monkeypatch, name, offset):
        calc = dock.read(samples.OPENMX / name)
        guess = calc.fermi_level + offset
        some = fermi_level(calc.replace(fermi_level=guess), (1, 1, 1), states=4, solver=part)
        monkeypatch.undo()
        every = fermi_level(calc, (1, 1, 1))
        assert some.level == pytest.approx(every.level, abs=1e-9)
        same_gap(some.gap, every.gap)
        assert some.spin_moment == pytest.approx(every.spin_moment)

    def test_one_k_point_is_solved_once(self, si, part):
        calc = dock.Calculation(si.structure, si.basis, si.spin, si.matrices, n_electrons=8)
        some = fermi_level(calc, (1, 1, 1), states=4, solver=part)
        assert (some.gap.vbm.band, part.calls) == (4, 1)

    def test_the_first_guess_is_the_number_of_electrons(self, si, small, part):
        calc = dock.Calculation(
            si.structure, si.basis, si.spin, si.matrices, n_electrons=8, source="no level"
        )
        some = fermi_level(calc, small, states=4, solver=part)
        assert some.gap.kind == "insulator"
        assert (some.gap.vbm.band, some.gap.cbm.band) == (4, 5)

    def test_few_states_in_a_metal_are_said_to_be_few(self, si, small, part, caplog):
        some = fermi_level(
            si, small, electrons=7, smearing=Smearing("gaussian", 3.0), states=2, solver=part
        )
        assert some.tail > 1e-3
        assert "ask for more states=N" in caplog.text

    def test_files_say_that_they_are_a_part(self, si, small, part, tmp_path):
        import h5py

        some = fermi_level(si, small, states=4, solver=part)
        some.save(tmp_path / "fermi_energy.json")
        with h5py.File(tmp_path / "eigval.h5") as file:
            assert file["partial_spectrum"][()]
            assert np.isfinite(file["eigval_data"]).all()
            assert file.attrs["first_band"] == some.spectrum.n_below + 1
        again = fermi_level(si, small, cache=tmp_path / "eigval.h5", states=4, solver=part)
        assert again.level == some.level
        assert part.calls == 2 * some.spectrum.mesh.n_points

    def test_wrong_number(self, si, part):
        with pytest.raises(UsageError, match="at least 2"):
            fermi_level(si, (1, 1, 1), states=1, solver=part)


class TestDensityOfStates:
    @pytest.mark.parametrize("method", [Smearing("gaussian", 0.1), "tetrahedra"], ids=str)
    @pytest.mark.parametrize("window", [(-2.0, 3.0), (2.0, 3.5)])
    def test_window(self, si, mesh, part, monkeypatch, method, window):
        settings = {"mesh": mesh, "method": method, "window": window, "step": 0.05}
        some = dos(si, **settings, project="l", solver=part)
        monkeypatch.undo()
        every = dos(si, **settings, project="l")
        np.testing.assert_allclose(some.energies, every.energies)
        np.testing.assert_allclose(some.total, every.total, atol=2e-6)
        np.testing.assert_allclose(some.projected, every.projected, atol=2e-6)
        assert some.counted == pytest.approx(every.counted, abs=1e-6)
        assert some.capacity == every.capacity
        assert some.facts()["n_certified"] == some.mesh.n_points

    def test_one_pass_where_the_level_is_known(self, si, small, part):
        method = Smearing("gaussian", 0.05)
        level = fermi_level(si, small, smearing=method, states=4, solver=part).level
        calc, before = si.replace(fermi_level=level), part.calls
        some = dos(calc, (2, 2, 2), method=Smearing("gaussian", 0.05), window=(-3, 3), solver=part)
        assert part.calls - before == some.mesh.n_points


class TestStatesOfAWindow:
    @pytest.mark.parametrize("name", ["si", "o2-spin", "o2-nc-soc"])
    def test_density_matrix_and_populations(self, part, monkeypatch, name):
        calc, mesh = dock.read(samples.OPENMX / name), KMesh.full((2, 1, 1))
        some = window_density_matrix(calc, (-3, 2), mesh, solver=part)
        charges = populations(
            calc.replace(n_electrons=None), mesh, window=(-3, 2), fermi=None, solver=part
        )
        monkeypatch.undo()
        every = window_density_matrix(calc, (-3, 2), mesh)
        np.testing.assert_allclose(some.entries, every.entries, atol=1e-10)
        assert charges.total[0] == pytest.approx(every.dot(calc.overlap))

    def test_coefficients(self, si, part, monkeypatch):
        k = [0.1, 0.2, 0.3]
        by_number = coefficients(si, k, bands="4,5", solver=part)
        nearest = coefficients(si, k, nearest=(2, 0.1), solver=part)
        monkeypatch.undo()
        every = coefficients(si, k, bands="4,5")
        for some in (by_number, nearest):
            assert some.names == ["band4", "band5"]
            np.testing.assert_allclose(some.energies, every.energies, atol=1e-9)
            same = np.abs(np.einsum("skbn,skbn->skb", some.vectors.conj(), every.vectors))
            norm = np.einsum("skbn,skbn->skb", every.vectors.conj(), every.vectors).real
            np.testing.assert_allclose(same, norm, rtol=1e-8)

    def test_nearest_in_each_spin_channel(self, part):
        o2 = dock.read(samples.OPENMX / "o2-spin")
        found = coefficients(o2, [0, 0, 0], nearest=(1, 0.0), solver=part)
        assert found.names == ["band7_up", "band6_down"]

    def test_nearest_is_of_one_k_point(self, si, part):
        with pytest.raises(UsageError, match="one k-point"):
            coefficients(si, [[0, 0, 0], [0.5, 0, 0]], nearest=(1, 0.0), solver=part)

    def test_unfolded(self, si, part, monkeypatch):
        double = {name: si.require(name).supercell([2, 1, 1]) for name in ("H", "S")}
        H, S = double["H"], double["S"]
        both = dock.Calculation(
            H.structure, H.basis, H.spin, {"hamiltonian": H, "overlap": S},
            fermi_level=si.fermi_level,
        )  # fmt: skip
        settings = {"path": "LGX", "points": 3, "window": (-3.0, 3.0)}
        some = unfold(both, [2, 1, 1], **settings, solver=part)
        monkeypatch.undo()
        every = unfold(both, [2, 1, 1], **settings)
        np.testing.assert_allclose(some.energies, every.energies, atol=1e-9)
        np.testing.assert_allclose(
            np.nansum(some.weights, axis=2), np.nansum(every.weights, axis=2), atol=1e-9
        )
        assert some.facts()["n_certified"] == every.path.n_kpoints
