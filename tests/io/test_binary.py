"""Binary numbers and Fortran's records: both byte orders, cut and damaged files."""

import struct

import numpy as np
import pytest

from dock.errors import FormatError, MissingDataError
from dock.io.binary import numbers_at, open_reader, open_records
from dock.io.refusal import FileState, Refusal

SOMECODE = Refusal("Somecode")


def record(data, order="<"):
    head = struct.pack(f"{order}i", len(data))
    return head + data + head


@pytest.fixture(params=["<", ">"])
def order(request):
    return request.param


@pytest.fixture
def path(tmp_path, order):
    """Three records: two integers, and two rows of one and two numbers."""
    path = tmp_path / "matrix"
    rows = (np.array([1.5], f"{order}f8"), np.array([2.5, -3.5], f"{order}f8"))
    ints = np.array([7, -8], f"{order}i4")
    path.write_bytes(b"".join(record(part.tobytes(), order) for part in (ints, *rows)))
    return path


def read(path):
    """Return everything of such a file."""
    with open_records(path, refusal=SOMECODE) as reader:
        head = reader.numbers("i4", 2, "the header")
        rows = reader.rows("f8", np.array([1, 2]), "the rows")
        reader.finish()
    return head.tolist(), rows.read(0, 2).tolist(), rows.read(1, 2).tolist()


def test_records_of_both_byte_orders(path, order):
    assert read(path) == ([7, -8], [1.5, 2.5, -3.5], [2.5, -3.5])
    with open_records(path) as reader:
        assert not reader.at_end
        assert reader.order == order
        assert reader.peek("the header") == 8
        assert reader.record("the header") == np.array([7, -8], f"{order}i4").tobytes()


def test_cut_files_are_refused_with_their_size(path):
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"cut|empty") as caught:
            read(path)
        assert "run Somecode again" in str(caught.value)
        assert f"{end} bytes" in str(caught.value)


def test_a_file_that_goes_on(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(FormatError, match=r"longer than its header says. Expected 56 .* Found 57"):
        read(path)


def test_records_that_contradict_themselves(path, order):
    whole = path.read_bytes()
    path.write_bytes(whole[:16] + struct.pack(f"{order}i", 9) + whole[20:])
    with pytest.raises(FormatError, match=r"record of the rows has the wrong length.*row 1|row 1"):
        read(path)
    with open_records(path) as reader:
        reader.record("the header")
        with pytest.raises(
            FormatError, match=r"\(record 2, byte 16\): the record of x does not end"
        ):
            reader.record("x")
    with (
        open_records(path) as reader,
        pytest.raises(FormatError, match=r"of x has the wrong length. Expected 4 .* Found 8 bytes"),
    ):
        reader.record("x", 4)
    path.write_bytes(whole[:16] + struct.pack(f"{order}i", -5) + whole[20:])
    with open_records(path) as reader:
        reader.record("the header")
        with pytest.raises(FormatError, match="a record has no valid length"):
            reader.peek("x")


def test_rows_that_are_not_finite(path, order):
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + struct.pack(f"{order}d", float("nan")) + whole[28:])
    with pytest.raises(FormatError, match="the rows is not finite"):
        read(path)


def test_no_records_at_all(tmp_path):
    path = tmp_path / "text"
    path.write_text("this is text, and no record")
    with pytest.raises(FormatError, match="no file of Fortran records"), open_records(path):
        pass
    with pytest.raises(MissingDataError), open_records(tmp_path / "nothing"):
        pass


def test_numbers_without_records(tmp_path, order):
    path = tmp_path / "flat"
    path.write_bytes(np.array([1, 2, 3], f"{order}i4").tobytes() + b"end")
    with open_reader(path, order, SOMECODE) as reader:
        assert reader.take("i4", 1, "a number").tolist() == [1]
        assert reader.skip(4, "another") == 4
        assert reader.take("i4", 1, "a number").tolist() == [3]
        assert reader.data(3, "the end") == b"end"
        reader.finish()
        for count in (1, -1):
            with pytest.raises(FormatError, match=r"\(in more\): the file is cut.*15 bytes"):
                reader.take("i4", count, "more")


def test_numbers_of_a_file_that_was_written_anew(tmp_path):
    path = tmp_path / "flat"
    path.write_bytes(np.arange(5.0).tobytes())
    state = FileState.of(path)
    found = numbers_at(path, "<f8", (8, 3), state, "the values", SOMECODE)
    assert found.tolist() == [1, 2, 3]
    with pytest.raises(FormatError, match=r"\(in the values\): the file is cut.*at least 48 bytes"):
        numbers_at(path, "<f8", (8, 5), state, "the values", SOMECODE)
    path.write_bytes(b"other")
    with pytest.raises(
        FormatError, match=r"changed after it was opened.*until Somecode has finished"
    ):
        numbers_at(path, "<f8", (8, 3), state, "the values", SOMECODE)
