"""Block files written slab by slab are those of the whole matrix."""

import h5py
import numpy as np
import pytest

from dock.converters.deeph.blockfile import read_matrix, write_matrix, write_slabs
from dock.converters.deeph.pattern import read_pairs
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError, OutputError

ATTRIBUTES = {"quantity": "overlap", "unit": "1"}


@pytest.fixture
def matrix(rng):
    structure = Structure(np.eye(3) * 5, [[0, 0, 0], [1, 1, 1]], [1, 6])
    basis = Basis.from_ls({"H": [0], "C": [0, 1]}, structure.labels)
    pairs = Pairs([[0, 0, 0], [0, 0, 0], [1, 0, 0], [-1, 0, 0]], [0, 1, 0, 1], [0, 1, 1, 0], 2)
    return AOMatrix("overlap", structure, basis, pairs, Spin.NONE, rng.normal(size=(1, 25)))


def cut(matrix, *marks):
    return np.split(matrix.entries, marks, axis=1)


def test_the_file_is_that_of_the_whole_matrix(tmp_path, matrix):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    write_matrix(one, matrix, ATTRIBUTES)
    count = write_slabs(
        two, "overlap", matrix.basis, matrix.pairs, cut(matrix, 3, 17), attributes=ATTRIBUTES
    )
    assert count == 25
    with h5py.File(one) as first, h5py.File(two) as second:
        assert dict(first.attrs) == dict(second.attrs)
        for name in first:
            assert first[name].dtype == second[name].dtype
            assert np.array_equal(first[name][()], second[name][()])
    found = read_matrix(two, "overlap", matrix.structure, matrix.basis, Spin.NONE)
    assert np.array_equal(found.entries, matrix.entries)
    assert read_pairs(two, 2).is_same(matrix.pairs)


def test_vectors_and_single_precision(tmp_path, matrix, rng):
    path = tmp_path / "r.h5"
    entries = rng.normal(size=(3, 25))
    write_slabs(
        path, "position", matrix.basis, matrix.pairs, np.split(entries, [11], axis=1),
        attributes={}, single_precision=True,
    )  # fmt: skip
    with h5py.File(path) as file:
        assert file["entries"].dtype == np.float32
        assert np.allclose(file["entries"][()], entries, atol=1e-6)


def test_slabs_that_do_not_add_up_leave_nothing(tmp_path, matrix):
    path = tmp_path / "S.h5"
    for slabs in (cut(matrix, 3)[:1], [*cut(matrix, 3), matrix.entries[:, :1]]):
        with pytest.raises(LayoutError, match=r"25"):
            write_slabs(path, "overlap", matrix.basis, matrix.pairs, slabs, attributes={})
        assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays(tmp_path, matrix):
    path = tmp_path / "S.h5"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_slabs(path, "overlap", matrix.basis, matrix.pairs, cut(matrix, 3), attributes={})
    assert path.read_text() == "mine"


def test_patterns_that_are_none(tmp_path, matrix):
    with pytest.raises(MissingDataError, match="file of the pattern"):
        read_pairs(tmp_path / "none.h5", 2)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FormatError, match="HDF5 cannot read"):
        read_pairs(tmp_path / "text.h5", 2)
    for number, (content, words) in enumerate(
        [
            (np.zeros((3, 5)), r"wrong type\. Expected integers"),
            (np.zeros((3, 4), dtype=np.int64), r"wrong length\. Expected any × 5\. Found 3 × 4"),
        ]
    ):
        with h5py.File(tmp_path / f"bad{number}.h5", "w") as file:
            file["atom_pairs"] = content
        with pytest.raises(FormatError, match=words):
            read_pairs(tmp_path / f"bad{number}.h5", 2)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("atom_pairs")
    with pytest.raises(FormatError, match=r"Expected a dataset\. Found a group"):
        read_pairs(tmp_path / "group.h5", 2)
    path = tmp_path / "S.h5"
    write_matrix(path, matrix, ATTRIBUTES)
    with pytest.raises(FormatError, match="atom index i runs from 0 to 1"):
        read_pairs(path, 1)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FormatError, match="no block file"):
        read_pairs(tmp_path / "empty.h5", 2)
