"""Equations (11) to (16): against a script of their own on real predictions, and their edges."""

import json
import math

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st
from samples import OPENMX
from scipy.linalg import eigh, expm

import dock
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError, OutputError, UsageError
from dock.evaluate import metrics
from dock.evaluate.report import Item, evaluate_set, read_item
from dock.evaluate.structure import EvaluateOptions, evaluate
from dock.results import KEYS
from dock.states.occupation import Spaces, occupation_errors
from dock.states.problem import Problem

IDS = ("3573", "138", "3563", "282", "1009", "1978")


def dense(path, size, offsets):
    """Return the matrix of a molecule's block file, straight from HDF5."""
    with h5py.File(path) as file:
        pairs, shapes = file["atom_pairs"][()], file["chunk_shapes"][()]
        starts, entries = file["chunk_boundaries"][()], file["entries"][()].astype(float)
    assert np.all(pairs[:, :3] == 0)
    matrix = np.zeros((size, size))
    for (*_, i, j), (rows, cols), start in zip(pairs, shapes, starts, strict=False):
        block = entries[start : start + rows * cols].reshape(rows, cols)
        matrix[offsets[i] : offsets[i] + rows, offsets[j] : offsets[j] + cols] = block
    return matrix


def independent(pred, bm, S, electrons, sigma=0.05):
    """Compute equations (11) to (16) of a molecule as they stand in the paper."""
    mu = np.sum((pred - bm) * S) / np.sum(S**2)  # (15)
    out = {"mae": np.sum(np.abs(pred - bm - mu * S)) / bm.size, "mu": mu}  # (11)
    e_bm, c_bm = eigh(bm, S)
    e_pred, c_pred = eigh(pred, S)
    filled = electrons // 2
    fermi = (e_bm[filled - 1] + e_bm[filled]) / 2
    half = 3.0
    n = 0
    while np.sum(np.abs(e_bm - fermi) < half) < 10:
        n += 1
        half = 3.0 + 0.1 * n
    inside = (e_bm > fermi - half) & (e_bm < fermi + half)
    shift = np.median((e_pred - e_bm)[inside])  # (16)
    out["band"] = np.mean(np.abs(e_pred - e_bm - shift)[inside])  # (12)
    n_steps = math.ceil(2 * half / (sigma / 10))
    grid = np.linspace(fermi - half, fermi + half, n_steps + 1)

    def density(levels):
        gauss = np.exp(-((grid[:, None] - levels) ** 2) / (2 * sigma**2))
        return gauss.sum(axis=1) / (sigma * math.sqrt(2 * math.pi))

    D_pred, D_bm = density(e_pred - shift), density(e_bm)
    out["dos"] = np.trapezoid(np.abs(D_pred - D_bm), grid) / np.trapezoid(D_bm, grid)  # (13)
    total = 0.0
    for k in np.flatnonzero(inside):  # (14)
        subspace = [k]
        while subspace[0] > 0 and e_bm[subspace[0]] - e_bm[subspace[0] - 1] < 0.005:
            subspace.insert(0, subspace[0] - 1)
        while subspace[-1] + 1 < len(e_bm) and e_bm[subspace[-1] + 1] - e_bm[subspace[-1]] < 0.005:
            subspace.append(subspace[-1] + 1)
        total += 1 - sum((c_bm[:, g] @ S @ c_pred[:, k]) ** 2 for g in subspace)
    out["state"] = math.sqrt(total / inside.sum())
    return out


@pytest.mark.shared
@pytest.mark.parametrize("name", IDS)
def test_metrics_equal_the_equations_of_the_paper(shared, name):
    root = shared / "public" / "analyze_error"
    dft, guess = root / "benchmark" / "dft" / name, root / "infer" / "dft" / name
    info = json.loads((dft / "info.json").read_text())
    counts = {"O": 13, "H": 5}  # 2s2p1d and 2s1p
    labels = [w for w in ("O", "H", "H") if w in info["elements_orbital_map"]]
    order = dock.read(dft).structure.symbols
    assert sorted(order) == sorted(labels)
    offsets = np.cumsum([0, *(counts[label] for label in order)])
    H, S, P = (
        dense(path, 23, offsets)
        for path in (
            dft / "hamiltonian.h5",
            dft / "overlap.h5",
            guess / "hamiltonian_pred.h5",
        )
    )
    wanted = independent(P, H, S, 8)
    item = Item(name, guess / "hamiltonian_pred.h5", dft)
    result = evaluate(*read_item(item))
    assert result.mae == pytest.approx(wanted["mae"], abs=1e-12)
    assert result.shift == pytest.approx(wanted["mu"], abs=1e-12)
    assert result.bands.mae == pytest.approx(wanted["band"], abs=1e-12)
    assert result.bands.dos == pytest.approx(wanted["dos"], abs=1e-12)
    # 1 − |⟨ψ|ψ⟩|² is the difference of numbers near 1: its square is what 1e-12 can be asked of.
    assert result.bands.state**2 == pytest.approx(wanted["state"] ** 2, abs=1e-12)


@pytest.mark.shared
def test_matrix_errors_equal_the_published_statistics(shared):
    root = shared / "public" / "analyze_error"
    result = evaluate_set(
        root / "infer" / "dft", root / "benchmark" / "dft", EvaluateOptions(matrix_only=True)
    )
    published = json.loads((root / "reference" / "error_structure_distribution.json").read_text())
    found = {row["name"]: row["mae_hamiltonian_eV"] for row in result.rows}
    for name, value in zip(published["sids"], published["errors"], strict=True):
        assert found[name] == pytest.approx(value, abs=1e-14)
    with h5py.File(root / "reference" / "error_elements_pair_distribution.h5") as file:
        names = json.loads(file["elem_list"][()])
        matrix = file["result_matrix"][()]
    place = [result.blocks.elements.index(name) for name in names]
    assert np.allclose(result.blocks.pair_matrix()[np.ix_(place, place)], matrix, rtol=1e-12)
    by_element = json.loads((root / "reference" / "error_elements_distribution.json").read_text())
    for name, value in by_element["error"].items():
        assert result.elements()[name]["structure_mae_eV"] == pytest.approx(value, abs=1e-14)
    with h5py.File(root / "reference" / "error_each_entries_distribution.h5") as file:
        errors = file["all_abs_errs"][()]
    assert result.blocks.n_entries == len(errors)
    assert result.blocks.largest == pytest.approx(errors.max(), rel=1e-9)
    assert result.blocks.root_mean_square == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-9)
    assert result.blocks.histogram.sum() == len(errors)


@pytest.mark.parametrize("system", ["h2o", "graphene-v38", "o2-spin", "o2-nc-soc"])
def test_a_shift_of_the_gauge_is_no_error(system):
    calc = dock.read(OPENMX / system)
    H, S = calc.require("H"), calc.require("S")
    result = evaluate(H + 0.5 * S, calc, EvaluateOptions(mesh=(2, 2, 1)))
    assert result.shift == pytest.approx(0.5, abs=1e-10)
    assert result.mae < 1e-12
    bands = result.bands
    assert bands.shift == pytest.approx(0.5, abs=1e-8)
    assert bands.mae < 1e-8
    assert bands.dos < 1e-7
    assert bands.state < 1e-5
    assert bands.window.n_bands >= 10


def test_a_known_error_of_one_shell_is_found_there():
    calc = dock.read(OPENMX / "h2o")
    H = calc.require("H")
    entries = np.array(H.entries)
    onsite = [p for p in H.pairs.onsite if calc.structure.symbols[H.pairs.i[p]] == "O"]
    start = H.layout.starts[onsite[0]]
    entries[0, start] += 0.1  # the first s orbital of O with itself
    result = evaluate(
        H.with_entries(entries), calc, EvaluateOptions(matrix_only=True, only_overlapping=True)
    )
    assert result.bands is None
    matrix = result.blocks.shell_matrix("O", "O")
    assert np.unravel_index(matrix.argmax(), matrix.shape) == (0, 0)
    S = calc.require("S")
    shift = 0.1 * S.entries[0, start] / np.sum(S.entries**2)
    assert result.shift == pytest.approx(shift, rel=1e-12)
    assert matrix[0, 0] == pytest.approx(0.1 - shift * S.entries[0, start], rel=1e-12)
    with pytest.raises(LayoutError, match="no blocks"):
        result.blocks.shell_matrix("O", "C")


def test_spinors_have_all_four_components_in_the_mean():
    calc = dock.read(OPENMX / "o2-nc-soc")
    H = calc.require("H")
    entries = np.array(H.entries)
    entries[1] += 0.01j  # up-down only: no part in the shift
    result = evaluate(H.with_entries(entries), calc, EvaluateOptions(matrix_only=True))
    assert result.shift == pytest.approx(0, abs=1e-14)
    assert result.mae == pytest.approx(0.01 / 4, rel=1e-9)
    assert result.blocks.n_entries == 4 * H.layout.n_entries


@given(seed=st.integers(0, 2**32 - 1), mixed=st.floats(0.0, 3.0))
def test_turning_a_degenerate_subspace_is_no_error(seed, mixed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(6, 6))
    S = half @ half.T + 6 * np.eye(6)
    _, vectors = eigh(rng.normal(size=(6, 6)) + 0.0, S, lower=True)
    levels = np.array([0.0, 1.0, 1.002, 1.004, 3.0, 3.1])
    turn = np.eye(6)
    skew = np.triu(rng.normal(size=(3, 3)), 1)
    turn[1:4, 1:4] = expm(mixed * (skew - skew.T))
    groups = metrics.degenerate_groups(levels)
    errors = metrics.state_error(vectors @ turn, vectors, S, groups)
    assert np.abs(errors).max() < 1e-9
    alone = metrics.state_error(vectors @ turn, vectors, S, np.arange(6))
    assert np.allclose(alone, 1 - np.diag(turn) ** 2, atol=1e-9)


def test_the_face_of_the_result(tmp_path):
    water = dock.read(OPENMX / "h2o")
    H, S = water.require("H"), water.require("S")
    result = evaluate(H + 0.1 * S, water, EvaluateOptions(states=(4, 2)), name="water")
    assert set(result.facts()) <= set(KEYS)
    facts = result.facts()
    assert facts["shift_hamiltonian_eV"] == result.shift
    assert facts["n_levels"] == result.bands.n_levels == 6
    assert facts["window_eV"] is facts["mae_dos"] is None
    assert len(repr(result)) < 150
    assert "0.1000 eV" in result._repr_html_()
    files = result.save(tmp_path / "errors.h5")
    before = [file.read_bytes() for file in files]
    with h5py.File(files[0]) as file:
        assert file["element_pair_mae"].shape == (2, 2)
        assert file.attrs["n_atoms"] == 3
    with pytest.raises(OutputError, match="overwrite"):
        result.save(tmp_path / "errors.h5")
    assert [file.read_bytes() for file in files] == before
    alone = evaluate(H, water, EvaluateOptions(matrix_only=True)).facts()
    assert list(alone) == list(facts)
    assert alone["mae_band_eV"] is None


def test_window_grows_until_ten_bands_are_inside():
    levels = np.array([[[-40.0, -9.0, -2.0, 0.5, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.05, 30.0]]])
    window = metrics.adaptive_window(levels, 0.0)
    assert window.n_bands == 10
    assert window.high == pytest.approx(9.1)
    assert metrics.level_mask(levels, window).sum() == 10
    alone = metrics.adaptive_window(levels[..., :1], 0.0, min_bands=0)
    assert alone.n_bands == 1  # never an empty window
    few = metrics.adaptive_window(levels[..., 2:5], 0.0)
    assert (few.low, few.high, few.n_bands) == (-3.0, 3.0, 3)


def test_dos_error_of_one_displaced_level():
    window = metrics.Window(-10.0, 10.0, 1)
    bm, pred = np.array([[[0.0]]]), np.array([[[5.0]]])
    assert metrics.dos_error(pred, bm, window, shift=5.0) == 0.0
    # Two peaks that do not overlap: ∫|D − D'| = 2.
    assert metrics.dos_error(pred, bm, window, shift=0.0) == pytest.approx(2.0, abs=1e-9)
    # Displaced by d: 2 erf(d / (2√2 σ)).
    found = metrics.dos_error(bm + 0.02, bm, window, shift=0.0, sigma=0.05)
    assert found == pytest.approx(2 * math.erf(0.02 / (2 * math.sqrt(2) * 0.05)), rel=1e-3)


def test_numbers_of_states_choose_about_the_gap():
    levels = np.arange(20.0).reshape(1, 2, 10)
    mask = metrics.nearest_states(levels, 4, 2, 3)
    assert mask[0, 0].tolist() == [False] * 2 + [True] * 5 + [False] * 3
    with pytest.raises(UsageError, match="states="):
        metrics.nearest_states(levels, 4, 5, 3)
    with pytest.raises(UsageError, match="positive"):
        metrics.nearest_states(levels, 4, 0, 0)


def test_bad_input_is_refused_in_words():
    water, oxygen = dock.read(OPENMX / "h2o"), dock.read(OPENMX / "o2-spin")
    spinor = dock.read(OPENMX / "o2-nc-soc")
    with pytest.raises(LayoutError, match=r"collinear.*noncollinear"):
        evaluate(oxygen.require("H"), spinor)
    with pytest.raises(LayoutError, match="different atoms or bases"):
        evaluate(water.require("H"), dock.read(OPENMX / "graphene-v38"))
    H = water.require("H")
    bad = np.array(H.entries)
    bad[0, 3] = np.nan
    with pytest.raises(LayoutError, match="1 NaN"):
        evaluate(H.with_entries(bad), water)
    without = dock.Calculation(
        water.structure,
        water.basis,
        Spin.NONE,
        {"hamiltonian": H, "overlap": water.require("S")},
    )
    with pytest.raises(MissingDataError, match="electrons="):
        evaluate(H, without)
    with pytest.raises(UsageError, match="electrons="):
        evaluate(H, without, EvaluateOptions(states=(2, 2), fermi=0.0))
    with pytest.raises(UsageError, match="spin channel"):
        evaluate(oxygen.require("H"), oxygen, EvaluateOptions(states=(2, 2)))
    with pytest.raises(UsageError, match="electrons="):
        evaluate(H, without, EvaluateOptions(electrons=1000))
    for options in ({"mesh": (1, 1, 1), "spacing": 1.0}, {"fermi": 0.0, "electrons": 1.0}):
        with pytest.raises(UsageError, match="not both"):
            EvaluateOptions(**options)
    with pytest.raises(UsageError, match="broadening"):
        EvaluateOptions(sigma=0)
    with pytest.raises(UsageError, match="fermi="):
        evaluate(H, water, EvaluateOptions(fermi=1e6))
    with pytest.raises(UsageError, match="width"):
        evaluate(H, water, EvaluateOptions(half_width=0))


class TestOccupation:
    """What the mean error of H hides."""

    TRUE = np.array([[[-20.0, -8.0, -5.0, 1.0, 6.0], [-19.0, -7.0, -5.5, 0.5, 7.0]]])

    def test_a_shift_is_no_error(self):
        found = occupation_errors(self.TRUE + 0.3, self.TRUE, -2.0)
        assert found.shift == pytest.approx(0.3)
        assert found.occupied == pytest.approx(0.0, abs=1e-12)
        assert found.gap == pytest.approx(0.0, abs=1e-12)
        assert (found.n_ghosts, found.n_missing) == (0, 0)

    @pytest.mark.parametrize("energy", [-12.0, -4.0, -0.6])
    def test_one_false_state(self, energy):
        """Among the filled ones, in the gap, and below the lowest empty one."""
        levels = np.sort(np.append(self.TRUE[0, 1], energy))[:5]
        predicted = np.array([[self.TRUE[0, 0], levels]])
        found = occupation_errors(predicted, self.TRUE, -2.0)
        assert (found.n_ghosts, found.n_missing) == (1, 0)

    def test_a_state_that_is_lacking(self):
        predicted = self.TRUE.copy()
        predicted[0, 0] = [-20.0, -5.0, 1.0, 6.0, 9.0]
        found = occupation_errors(predicted, self.TRUE, -2.0)
        assert (found.n_ghosts, found.n_missing) == (0, 1)
        assert found.largest_occupied == pytest.approx(6.0)

    def test_gap_and_filled_levels(self):
        predicted = self.TRUE + np.array([0.0, 0.0, 0.1, -0.2, 5.0])
        found = occupation_errors(predicted, self.TRUE, -2.0)
        assert found.gap == pytest.approx(-0.3)
        assert found.occupied == pytest.approx(0.1 / 3)
        assert occupation_errors(predicted, self.TRUE, 0.7).gap is None  # a metal
        assert occupation_errors(predicted, self.TRUE, -99.0).occupied is None

    def test_bands_that_are_lacking_somewhere_are_left_out(self):
        """Removed combinations leave fewer levels at some k-points."""
        lacking = self.TRUE.copy()
        lacking[0, 1, -1] = np.inf
        found = occupation_errors(lacking + 0.1, lacking, -2.0)
        assert found.gap == pytest.approx(0.0, abs=1e-12)
        assert (found.n_ghosts, found.n_missing) == (0, 0)

    def test_spaces_of_a_known_error(self):
        """0.1 eV between the highest occupied states of water, 0.7 between two empty ones."""
        water = dock.read(OPENMX / "h2o")
        H, S = Problem.of(water).dense(0, np.zeros(3))
        levels, C = eigh(H, S)
        error = np.zeros(H.shape)
        error[3, 3], error[8, 9] = 0.1, 0.7
        error[9, 8], error[2, 6] = 0.7, 0.03
        error[6, 2] = 0.03
        spaces = Spaces()
        spaces.add(S @ C @ error @ C.T @ S, C, np.arange(len(levels)) < 4)
        n = len(levels) - 4
        sizes = [0.1 / 4, 0.03 / (4 * n) ** 0.5, 0.7 * 2**0.5 / n]
        np.testing.assert_allclose(spaces.result(), sizes, rtol=1e-8)

    def test_they_are_in_the_facts(self):
        water = dock.read(OPENMX / "h2o")
        H, S = water.require("H"), water.require("S")
        facts = evaluate(H + 0.1 * S, water).facts()
        assert facts["n_ghost_states"] == facts["n_missing_states"] == 0
        for key in ("mae_occupied_levels_eV", "gap_error_eV", "rms_hamiltonian_occupied_eV"):
            assert abs(facts[key]) < 1e-9
