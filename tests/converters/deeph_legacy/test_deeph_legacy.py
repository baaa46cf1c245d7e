"""Legacy folders: against the expected results of another program, round trips, damaged files."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from samples import cli

import dock
from dock.converters import deeph, deeph_legacy, openmx
from dock.converters.deeph_legacy.blocks import FILES, TEXT_FILES, read_blocks, read_pairs
from dock.converters.format import WriteOptions
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError

MATRICES = tuple(FILES)


def write_legacy(calc, folder, quantities=None):
    names = quantities or tuple(name for name in MATRICES if name in calc.available)
    folder.mkdir(parents=True, exist_ok=True)
    return deeph_legacy.FORMAT.write(calc, folder, WriteOptions(quantities=names))


def small_calculation(spin, rng, *, two_kinds=False):
    """Make three atoms in the order H C H with random Hermitian matrices."""
    labels = ("H1", "C", "H2") if two_kinds else ("H", "C", "H")
    structure = Structure(np.diag([4.0, 5.0, 6.0]), rng.random((3, 3)) * 3, [1, 6, 1], labels)
    shells = {"H": [0], "H1": [0], "H2": [0, 1], "C": [0, 1, 2, 3]}
    basis = Basis.from_ls({label: shells[label] for label in labels}, labels)
    atoms = np.array([(i, j) for i in range(3) for j in range(3)])
    R = np.repeat([[0, 0, 0], [1, 0, -1], [-1, 0, 1]], 9, axis=0)
    pairs = Pairs(R, np.tile(atoms[:, 0], 3), np.tile(atoms[:, 1], 3), 3)
    size = int(np.sum(basis.counts[pairs.i] * basis.counts[pairs.j]))
    shape = (spin.n_components, size)
    values = rng.standard_normal(shape)
    if spin is Spin.NONCOLLINEAR:
        values = values + 1j * rng.standard_normal(shape)
    matrices = {
        name: AOMatrix(name, structure, basis, pairs, spin, values * factor).hermitian_part()
        for name, factor in (("hamiltonian", 3.0), ("density_matrix", 0.1))
    }
    overlap = rng.standard_normal((1, size))
    matrices["overlap"] = AOMatrix(
        "overlap", structure, basis, pairs, Spin.NONE, overlap
    ).hermitian_part()
    return Calculation(structure, basis, spin, matrices, -1.25, 6.0, source="a test")


def assert_same(mine, other, tolerance=0.0):
    assert mine.structure.is_close(other.structure, 1e-12)
    assert set(mine.available) == set(other.available)
    for name in mine.available:
        difference = mine.require(name) - other.require(name)
        assert np.abs(difference.entries).max() <= tolerance


@pytest.mark.shared
def test_agrees_with_the_expected_unified_folder(shared):
    source = shared / "public/deeph_legacy/MoTe2"
    calc = deeph_legacy.read(source)
    expected = deeph.read(source / "reference_upgraded")
    assert_same(calc, expected)
    assert calc.fermi_level == expected.fermi_level
    assert calc.overlap.hermiticity_error() < 1e-8


@pytest.mark.shared
def test_legacy_unified_legacy_is_exact(shared, tmp_path):
    source = shared / "public/deeph_legacy/MoTe2"
    dock.write(deeph_legacy.read(source), tmp_path / "unified")
    write_legacy(deeph.read(tmp_path / "unified"), tmp_path / "again")
    for name in ("overlaps.h5", "hamiltonians.h5"):
        with h5py.File(source / name) as first, h5py.File(tmp_path / "again" / name) as second:
            assert set(first) == set(second)
            assert all(np.array_equal(first[key][()], second[key][()]) for key in first)
    for name in TEXT_FILES:
        old, new = (np.loadtxt(folder / name) for folder in (source, tmp_path / "again"))
        assert np.array_equal(old, new)


@pytest.mark.parametrize("name", ["si", "o2-spin", "o2-nc-soc", "mos2"])
def test_openmx_to_legacy_and_back(bundled, tmp_path, name):
    calc = openmx.read(bundled / "openmx" / name)
    kept = {quantity: calc.matrices[quantity] for quantity in MATRICES}
    calc = calc.replace(matrices=kept)
    write_legacy(calc, tmp_path)
    again = deeph_legacy.read(tmp_path)
    assert again.spin is calc.spin
    assert again.n_electrons == calc.n_electrons
    assert_same(calc, again)
    count = again.density_matrix.dot(again.overlap)
    assert count == pytest.approx(calc.n_electrons, abs=1e-6)


@pytest.mark.parametrize("spin", list(Spin))
def test_unsorted_elements_keep_their_order(tmp_path, rng, spin):
    calc = small_calculation(spin, rng)
    write_legacy(calc, tmp_path / "a")
    first = deeph_legacy.read(tmp_path / "a")
    assert first.structure.symbols == ("H", "C", "H")
    dock.write(first, tmp_path / "u")
    grouped = deeph.read(tmp_path / "u")
    assert grouped.structure.symbols == ("H", "H", "C")
    write_legacy(grouped, tmp_path / "b")
    assert_same(deeph_legacy.read(tmp_path / "b"), calc)


def test_two_bases_of_one_element(tmp_path, rng):
    calc = small_calculation(Spin.NONE, rng, two_kinds=True)
    write_legacy(calc, tmp_path)
    again = deeph_legacy.read(tmp_path)
    assert again.structure.labels == ("H1", "C", "H2")
    content = json.loads((tmp_path / "info.json").read_text())
    del content["dock"]
    (tmp_path / "info.json").write_text(json.dumps(content))
    assert_same(deeph_legacy.read(tmp_path), calc)


@pytest.mark.parametrize("spin", [Spin.COLLINEAR, Spin.NONCOLLINEAR])
def test_spin_is_found_in_the_content(tmp_path, rng, spin):
    calc = small_calculation(spin, rng)
    write_legacy(calc, tmp_path)
    (tmp_path / "info.json").write_text(json.dumps({"isspinful": True, "fermi_level": None}))
    assert deeph_legacy.read(tmp_path).spin is spin


def test_orbital_order_is_that_of_the_format(tmp_path, rng):
    calc = small_calculation(Spin.NONE, rng)
    write_legacy(calc, tmp_path)
    with h5py.File(tmp_path / "hamiltonians.h5") as file:
        stored = file["[0, 0, 0, 2, 2]"][()]
    ours = calc.hamiltonian.block([0, 0, 0], 1, 1)
    place = [0, 3, 1, 2, 6, 8, 4, 7, 5]  # s; x y z; z2 x2-y2 xy xz yz, as places in m = -l..l
    assert np.array_equal(stored[:9, :9], ours[np.ix_(place, place)])


def test_density_without_a_note_gets_one(tmp_path, rng):
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    assert "notes" not in deeph_legacy.read(tmp_path).provenance.extra
    with h5py.File(tmp_path / "density_matrices.h5", "r+") as file:
        del file.attrs["spin_sum"]
    assert "both spins" in deeph_legacy.read(tmp_path).provenance.extra["notes"][0]


def test_prediction_is_read_by_name(tmp_path, rng):
    calc = small_calculation(Spin.NONE, rng)
    write_legacy(calc, tmp_path)
    shutil.copy(tmp_path / "overlaps.h5", tmp_path / "hamiltonians_pred.h5")
    main = deeph_legacy.FORMAT.detect(tmp_path / "hamiltonians_pred.h5")
    predicted = deeph_legacy.read(main).hamiltonian.on_pairs(calc.overlap.pairs)
    assert np.array_equal(predicted.entries, calc.overlap.entries)
    plain = deeph_legacy.read(tmp_path).hamiltonian.on_pairs(calc.overlap.pairs)
    assert np.array_equal(plain.entries, calc.hamiltonian.entries)


def test_detection_leaves_foreign_folders_alone(tmp_path, bundled, rng):
    assert deeph_legacy.FORMAT.detect(bundled / "openmx/si") is None
    assert deeph_legacy.FORMAT.detect(tmp_path) is None
    assert deeph_legacy.FORMAT.detect(tmp_path / "nothing") is None
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    assert deeph_legacy.FORMAT.detect(tmp_path) == tmp_path
    assert deeph.FORMAT.detect(tmp_path) is None
    assert deeph_legacy.FORMAT.detect(tmp_path / "lat.dat") is None


def test_local_frames_are_refused(tmp_path, rng):
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    (tmp_path / "hamiltonians.h5").rename(tmp_path / "rh.h5")
    with pytest.raises(MissingDataError, match="local frame"):
        deeph_legacy.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lat.dat", "1 0 0\n0 1 0\n", "3 lines of 3 numbers"),
        ("lat.dat", "1 0 0\n0 1 0\n0 0 ***\n", "numbers cannot be read"),
        ("lat.dat", "1 0 0\n1 0 0\n0 0 1\n", "no volume"),
        ("element.dat", "1\n6\n", "one column for each line"),
        ("element.dat", "1\n6\n999\n", "atomic numbers"),
        ("element.dat", "", "empty"),
        ("orbital_types.dat", "0\n0 1 2 3\n", "3 lines"),
        ("orbital_types.dat", "0\n0 1 2\n0\n", "disagree"),
        ("site_positions.dat", "0 0 0\n0 0\n0 0 0\n", "different lengths"),
        ("info.json", "{", "valid JSON"),
        ("info.json", "[]", "JSON object"),
        ("info.json", "{}", "isspinful"),
        ("info.json", '{"isspinful": false, "nsites": 4}', "disagree"),
        ("info.json", '{"isspinful": true}', "disagree"),
        ("info.json", '{"isspinful": false, "isorthogonal": true}', "orthogonal"),
        ("info.json", '{"isspinful": false, "fermi_level": "x"}', "finite number"),
    ],
)
def test_contradictions_are_named(tmp_path, rng, name, text, message):
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=message):
        deeph_legacy.read(tmp_path).require("hamiltonian")


@pytest.mark.parametrize("name", [*TEXT_FILES, "info.json"])
def test_missing_files_are_named(tmp_path, rng, name):
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingDataError, match=name):
        deeph_legacy.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop("[1, 0, -1, 1, 2]"), "no partner"),
        (lambda file: file.move("[1, 0, -1, 1, 2]", "[1, 0, 1, 2]"), "name of a block"),
        (lambda file: file.move("[1, 0, -1, 1, 2]", "[1, 0, -1, 1, 9]"), "atom index"),
        (lambda file: file.clear(), "no blocks"),
        (lambda file: file["[0, 0, 0, 1, 1]"].write_direct(np.array([[np.nan]])), "not finite"),
    ],
)
def test_damaged_blocks(tmp_path, rng, change, message):
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    with h5py.File(tmp_path / "hamiltonians.h5", "r+") as file:
        change(file)
    with pytest.raises(FormatError, match=message):
        deeph_legacy.read(tmp_path).require("hamiltonian")


def test_cut_and_flipped_files(tmp_path, rng):
    """Every cut is refused; a flipped byte is refused or changes values, never the shape."""
    calc = small_calculation(Spin.NONE, rng)
    write_legacy(calc, tmp_path)
    path = tmp_path / "hamiltonians.h5"
    data = path.read_bytes()
    for end in np.linspace(0, len(data) - 1, 25).astype(int):
        path.write_bytes(data[:end])
        with pytest.raises(DockError):
            deeph_legacy.read(tmp_path).require("hamiltonian")
    for place in rng.integers(0, len(data), 60):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            found = deeph_legacy.read(tmp_path).require("hamiltonian")
        except DockError:
            continue
        assert found.entries.shape == calc.hamiltonian.entries.shape


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), spin=st.sampled_from(list(Spin)))
def test_round_trip_of_any_values(tmp_path_factory, seed, spin):
    calc = small_calculation(spin, np.random.default_rng(seed))
    folder = tmp_path_factory.mktemp("legacy")
    write_legacy(calc, folder)
    assert_same(deeph_legacy.read(folder), calc)


def test_blocks_are_those_of_h5py(tmp_path, rng):
    """The low-level reader gives what indexing the file gives."""
    write_legacy(small_calculation(Spin.NONE, rng), tmp_path)
    path = tmp_path / "overlaps.h5"
    counts = np.array([1, 16, 1])
    pairs = read_pairs(path, 3)
    with h5py.File(path) as file:
        table = np.column_stack([pairs.R, pairs.i + 1, pairs.j + 1]).tolist()
        expected = np.concatenate([file[str(row)][()].ravel() for row in table])
    assert np.array_equal(read_blocks(path, pairs, counts), expected)


F1 = "cases/K12-deeph-2026/F1_legacy_positions"


@pytest.mark.shared
def test_position_matrix_of_a_legacy_folder_is_that_of_the_run(shared, bundled, tmp_path):
    calc = deeph_legacy.read(shared / F1)
    difference = calc.position - openmx.read(bundled / "openmx/si").position
    assert np.abs(difference.entries).max() < 1e-8
    dock.write(calc, tmp_path / "unified")
    write_legacy(deeph.read(tmp_path / "unified"), tmp_path / "again")
    with (
        h5py.File(shared / F1 / "positions.h5") as old,
        h5py.File(tmp_path / "again" / "positions.h5") as new,
    ):
        assert set(old) == set(new)
        assert all(np.array_equal(old[key][()], new[key][()]) for key in old)


def position_folder(calc, folder):
    """Write overlap and position matrix of a calculation as a legacy folder; return its file."""
    write_legacy(calc, folder, ("overlap", "position"))
    return folder / "positions.h5"


def test_absent_position_blocks_are_zeros_and_said(bundled, tmp_path, caplog):
    calc = openmx.read(bundled / "openmx/h2o")
    file = position_folder(calc, tmp_path)
    with h5py.File(file, "r+") as content:
        for key in list(content):
            values = content[key][()].astype(complex)
            del content[key]
            if not key.startswith("[0, 0, 0, 1, 2, ") and key != "[0, 0, 0, 2, 1, 3]":
                content[key] = values.real if key == "[0, 0, 0, 2, 1, 1]" else values
    with pytest.raises(FormatError, match="position matrix is wrong"):
        assert deeph_legacy.read(tmp_path).position
    again = deeph_legacy.read(tmp_path).matrices["position"]()
    assert "4 blocks of the pairs are not there" in caplog.text
    assert again.pairs.is_same(deeph_legacy.read(tmp_path).overlap.pairs)
    assert np.all(again.block([0, 0, 0], 0, 1) == 0)
    assert np.all(again.block([0, 0, 0], 1, 0)[2] == 0)
    for axis in (0, 1):
        assert np.array_equal(
            again.block([0, 0, 0], 1, 0)[axis], calc.position.block([0, 0, 0], 1, 0)[axis]
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("[0, 0, 0, 1, 1, 4]", "Expected 1, 2 or 3"),
        ("[0, 0, 0, 1, 1]", "[R1, R2, R3, i, j, d]"),
        ("[0, 0, 0, 1, 9, 1]", "atom index"),
        ("[3, 0, 0, 1, 1, 1]", "has no partner"),
    ],
)
def test_damaged_position_files_are_refused(bundled, tmp_path, name, message):
    with h5py.File(position_folder(openmx.read(bundled / "openmx/h2o"), tmp_path), "r+") as file:
        file[name] = np.zeros((4, 4))
    with pytest.raises(FormatError, match=re.escape(message)):
        deeph_legacy.read(tmp_path).position  # noqa: B018


def test_what_a_legacy_folder_has_beside_is_named_and_carried(bundled, tmp_path):
    write_legacy(openmx.read(bundled / "openmx/h2o"), tmp_path / "old", ("overlap", "hamiltonian"))
    shutil.copy(bundled / "deeph/forces/potential_r.h5", tmp_path / "old")
    (tmp_path / "old" / "notes.txt").write_text("x")
    answer = cli("info", tmp_path / "old")
    assert "potential_r.h5: potential on a grid" in answer.out
    assert "notes.txt: unknown" in answer.out
    assert answer.out.count("beside") == 2
    assert cli("convert", tmp_path / "old", "-o", tmp_path / "new").code == 0
    for name in ("potential_r.h5", "notes.txt"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "old" / name).read_bytes()
    words = ("-o", tmp_path / "x", "--from", "deeph-legacy", "--to", "deeph-legacy")
    answer = cli("convert", tmp_path / "old", *words)
    assert (
        "not carried to 'deeph-legacy', which has no place: notes.txt, potential_r.h5" in answer.err
    )


def test_keys_and_datasets_that_are_not_read_are_named(bundled, tmp_path):
    old = tmp_path / "old"
    write_legacy(openmx.read(bundled / "openmx/h2o"), old, ("overlap", "hamiltonian"))
    content = json.loads((old / "info.json").read_text())
    (old / "info.json").write_text(json.dumps(content | {"norbits": 6, "campaign": [1, "b"]}))
    with h5py.File(old / "overlaps.h5", "r+") as file:
        file["note"], file.attrs["who"] = 1, "me"
    answer = cli("info", old)
    for name in ("info.json: campaign", "overlaps.h5: note", "overlaps.h5: attribute who"):
        assert f"{name}: unknown" in answer.out
    assert answer.out.count("beside") == 3
    answer = cli("convert", old, "-o", tmp_path / "new")
    assert json.loads((tmp_path / "new" / "info.json").read_text())["campaign"] == [1, "b"]
    assert "not carried: overlaps.h5: note, overlaps.h5: attribute who" in answer.err
    (old / "info.json").write_text(json.dumps(content | {"energy_unit": "Ry"}))
    with pytest.raises(FormatError, match=r"energy_unit.*may change what the matrices mean"):
        deeph_legacy.read(old)
