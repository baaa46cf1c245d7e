"""`bands` as an object: spin channels, selections, paths, differences."""

from dataclasses import replace

import numpy as np
import pytest
import samples

import dock
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.post import bands
from dock.post.band_structure import Selection, make_path

SHORT = {"path": "LGX", "points": 6}


@pytest.fixture(scope="module")
def si():
    return dock.read(samples.OPENMX / "si")


@pytest.fixture(scope="module")
def full(si):
    return bands(si, **SHORT)


def test_energies_are_those_of_numpy(si, full):
    import scipy.linalg

    for number in (0, 3, -1):
        k = full.path.kpoints_frac[number]
        H, S = si.hamiltonian.k(k), si.overlap.k(k)
        expected = scipy.linalg.eigh(H, S, eigvals_only=True)
        np.testing.assert_allclose(full.energies[0, number], expected, rtol=0, atol=1e-9)
    assert full.energies.shape == (1, full.path.n_kpoints, 10)
    assert full.smallest_overlap > 1e-3
    assert full.n_removed == 0


def test_spin_channels():
    for name, n_spin, n_bands in (("o2-spin", 2, 26), ("o2-nc-soc", 1, 20)):
        calc = dock.read(samples.OPENMX / name)
        found = bands(calc)
        assert found.energies.shape[0] == n_spin
        assert found.energies.shape[2] == n_bands
        assert found.spin is calc.spin


def test_progress_counts_all_channels():
    seen = []
    calc = dock.read(samples.OPENMX / "o2-spin")
    bands(calc, jobs=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2, 2)


class TestSelection:
    def test_window(self, si, full):
        level = si.fermi_level
        some = bands(si, **SHORT, selection=Selection((-4.0, 2.0)))
        low, high = some.n_below, some.n_below + some.energies.shape[2]
        inside = np.isfinite(some.energies)
        np.testing.assert_allclose(
            some.energies[inside], full.energies[..., low:high][inside], atol=1e-9
        )
        wanted = (full.energies > level - 4) & (full.energies < level + 2)
        assert inside.sum() >= wanted.sum()
        assert some.gap.size == pytest.approx(full.gap.size)
        assert some.difference(full).largest < 1e-9

    def test_states(self, si, full):
        two = bands(si, **SHORT, selection=Selection(states=2))
        first, last = two.n_below, two.n_below + two.energies.shape[2]
        np.testing.assert_array_equal(two.energies, full.energies[..., first:last])
        distance = np.sort(np.abs(full.energies[0] - si.fermi_level), axis=1)[:, 1]
        for row, limit in zip(two.energies[0], distance, strict=True):
            assert np.sum(np.abs(row - si.fermi_level) <= limit) == 2
        assert last - first < 10
        assert bands(si, **SHORT, selection=Selection(states=10)).energies.shape[2] == 10
        with pytest.raises(UsageError, match="there are 10 states"):
            bands(si, **SHORT, selection=Selection(states=11))

    @pytest.mark.parametrize(
        "wrong", [{"window": (1, 1)}, {"states": 0}, {"window": (0, 1), "states": 1}]
    )
    def test_refused(self, wrong):
        with pytest.raises(UsageError):
            Selection(**wrong)


class TestPath:
    def test_a_molecule_is_one_point(self):
        calc = dock.read(samples.OPENMX / "h2o")
        found = bands(calc)
        assert found.path.n_kpoints == 1
        assert found.gap.kind == "insulator"

    def test_axes_without_pairs_are_left_out(self):
        """Graphene in a box: no pair reaches across the vacuum, so no k along it."""
        calc = dock.read(samples.OPENMX / "graphene-v38")
        path = make_path(calc)
        assert np.all(path.kpoints_frac[:, 2] == 0)
        assert {name for pair in path.labels for name in pair} == {"GAMMA", "M", "K"}
        assert np.isclose(bands(calc, "GMKG", points=8).gap.size, 0, atol=0.5)

    def test_a_chain(self):
        calc = dock.read(samples.OPENMX / "o2-nc-soc")
        assert np.ptp(make_path(calc).kpoints_frac, axis=0).tolist() == [0.5, 0, 0]

    def test_object_and_file(self, si, full, tmp_path):
        full.path.to_file(tmp_path / "K_PATH")
        for path in (full.path, tmp_path / "K_PATH", str(tmp_path / "K_PATH")):
            np.testing.assert_array_equal(bands(si, path).energies, full.energies)


class TestDifference:
    def test_the_shift_is_taken_off_whatever_the_fermi_levels(self, si, full):
        moved = {"H": si.require("H") + 0.1 * si.require("S"), "S": si.require("S")}
        other = bands(si.replace(matrices=moved), **SHORT)
        found = full.difference(other)
        assert found.shift == pytest.approx(-0.1)
        assert max(found.largest, found.mean) < 1e-9
        level = bands(si.replace(fermi_level=si.fermi_level + 0.1), **SHORT)
        assert full.difference(level).largest == 0
        assert found.window == (other.reference - 6, other.reference + 6)
        assert full.difference(other, (-1.0, 3.0)).n_levels < found.n_levels

    def test_of_another_crystal(self, si, full):
        cell = si.structure.cell * 1.01
        other = replace(full, structure=replace(si.structure, cell=cell))
        with pytest.raises(LayoutError, match="different structures"):
            full.difference(other)
        water = dock.read(samples.OPENMX / "h2o")
        with pytest.raises(LayoutError, match="different structures"):
            bands(si, **SHORT, compare=water)

    def test_refused(self, si, full):
        with pytest.raises(UsageError, match="different k-points"):
            full.difference(bands(si, "LG", points=3))
        low = bands(si, **SHORT, selection=Selection((-99.0, -12.0)))
        high = bands(si, **SHORT, selection=Selection((50.0, 99.0)))
        with pytest.raises(UsageError, match="no band in common"):
            low.difference(high)


def test_missing_matrices(si):
    for kept, lost in (("H", "overlap"), ("S", "hamiltonian")):
        with pytest.raises(MissingDataError, match=lost):
            bands(si.replace(matrices={kept: si.require(kept)}), "LG")


def test_reference_without_any_level(si):
    calc = dock.core.calculation.Calculation(
        si.structure, si.basis, Spin.NONE, {"H": si.require("H"), "S": si.require("S")}
    )
    found = bands(calc, **SHORT)
    assert (found.reference, found.gap.kind) == (0.0, "unknown")
    for selection in (Selection((-3.0, 0.0)), Selection(states=2)):
        with pytest.raises(MissingDataError, match=r"Fermi level.*fermi_level=E.*electrons=N"):
            bands(calc, **SHORT, selection=selection)
    absolute = bands(calc.replace(fermi_level=0.0), **SHORT, selection=Selection((-3.0, 0.0)))
    # Each band enters the window, and goes on to its next state outside.
    inside = (absolute.energies >= -3) & (absolute.energies <= 0)
    assert inside.any(axis=(0, 1)).all()
    assert -4.5 <= np.nanmin(absolute.energies) < np.nanmax(absolute.energies) <= 1.5


def test_a_window_about_a_level_that_the_electrons_give(si, full):
    calc = dock.core.calculation.Calculation(
        si.structure, si.basis, Spin.NONE, {"H": si.require("H"), "S": si.require("S")}, None, 8.0
    )
    found = bands(calc, **SHORT, selection=Selection((-1.0, 1.5)))
    assert found.gap.kind == "insulator"
    inside = np.abs(full.energies - found.reference - 0.25) <= 1.25
    wanted = np.flatnonzero(inside.any(axis=(0, 1)))
    assert (found.n_below, found.energies.shape[2]) == (wanted[0], len(wanted))
    assert bands(calc, **SHORT, selection=Selection((900.0, 999.0))).energies.shape[2] == 0
    with pytest.raises(MissingDataError, match="fermi_level=E"):  # seven electrons: a metal
        bands(calc.replace(n_electrons=7.0), **SHORT, selection=Selection((-1.0, 1.0)))
