"""Numbers in text: what Fortran and C write, what is damaged, on any numpy; lines and pieces."""

import gzip
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.errors import FormatError, MissingDataError
from dock.io.text import (
    NotANumber,
    TextNumbers,
    finite_numbers,
    load_text,
    parse_number,
    parse_numbers,
    read_numbers,
    without_folders,
)

DAMAGED = "3.0*** -3.0* 1.0.0 --1 -1x 1.0-1.0 12-345 1.5E 1.5E+ 1_0 *** 0x10 é"
WRITTEN = {
    "-1.18764861-102": -1.18764861e-102,
    "+.5+100": 0.5e100,
    "1.-308": 1e-308,
    "-1.5D+02": -150.0,
    "1.5d3": 1500.0,
    "2Q-2": 0.02,
    ".5": 0.5,
    "-.25E-1": -0.025,
    "7": 7.0,
}


@pytest.fixture(params=["this numpy", "numpy 2.0"])
def any_numpy(request, monkeypatch):
    """This numpy, and one that stops at damage as numpy up to 2.2 does: with a warning at most."""
    if request.param == "this numpy":
        return
    real = np.fromstring
    word = re.compile(rb"\s*([+-]?(?:nan|inf|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))")
    whole = re.compile(rb"\s*([+-]?\d+)")

    def until_damage(text, dtype=float, sep=" "):
        place, words = 0, []
        pattern = word if np.dtype(dtype).kind == "f" else whole
        while match := pattern.match(text, place):
            words.append(match[1])
            place = match.end()
            if text[place : place + 1].strip():
                break
        if text[place:].strip():
            warnings.warn("string could not be read to its end", DeprecationWarning, stacklevel=2)
        return real(b" ".join(words), dtype=dtype, sep=sep)

    monkeypatch.setattr("dock.io.text.np.fromstring", until_damage)
    monkeypatch.setattr("dock.io.text.DeprecationWarning", ZeroDivisionError, raising=False)
    warnings.simplefilter("ignore", DeprecationWarning)


# ------------------------------------------------------------------------------- one number


@pytest.mark.parametrize(("word", "value"), WRITTEN.items())
def test_numbers_as_fortran_writes_them(any_numpy, word, value):
    assert parse_number(word) == value
    assert parse_numbers(word).tolist() == [value]
    assert parse_numbers(f"1.0 {word}\n 2.0").tolist() == [1.0, value, 2.0]
    assert finite_numbers([word, "1"], 2) == [value, 1.0]


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
@pytest.mark.parametrize("word", DAMAGED.split())
def test_damaged_numbers_are_refused_wherever_they_stand(any_numpy, word, dtype):
    for place in range(3):
        words = ["5", "6"]
        words.insert(place, word)
        with pytest.raises(NotANumber, match="is no number") as caught:
            parse_numbers(" ".join(words), dtype)
        assert (caught.value.index, caught.value.word) == (place, word.encode())
    with pytest.raises(ValueError, match=r"."):
        parse_number(word)
    assert finite_numbers([word], 1) is None


def test_two_damages_do_not_hide_each_other(any_numpy):
    for text, place in (("1.0.0 3.0***", 0), ("nan 3.0*** -1", 1), ("nan 3.0***", 1)):
        with pytest.raises(NotANumber) as caught:
            parse_numbers(text)
        assert caught.value.index == place


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
def test_every_float_comes_back(values):
    text = "\n".join(map(repr, values))
    np.testing.assert_array_equal(parse_numbers(text), np.array(values, dtype=float))
    bare = [re.sub(r"(\.\d*)e([+-]\d{3})$", r"\1\2", word) for word in text.split()]
    np.testing.assert_array_equal(parse_numbers(" ".join(bare)), np.array(values, dtype=float))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=30))
def test_every_integer_comes_back(values):
    for dtype in (np.int32, np.int64):
        found = parse_numbers(" ".join(map(str, values)), dtype)
        assert found.dtype == dtype
        assert found.tolist() == values


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("2147483648", np.int32),
        ("4294967297", np.int32),  # 1 with its 33rd bit set, as C's conversion would give
        ("-2147483649", np.int32),
        ("9223372036854775808", np.int64),
        ("99999999999999999999", np.int64),
        ("1.5", np.int64),
    ],
)
def test_integers_that_do_not_fit(any_numpy, word, dtype):
    for text, place in ((word, 0), (f"1 {word}", 1), (f"-7 8 {word} 9", 2)):
        with pytest.raises(NotANumber) as caught:
            parse_numbers(text, dtype)
        assert caught.value.index == place


def test_not_finite():
    assert finite_numbers(["nan"], 1) is None
    assert finite_numbers(["1.0+999"], 1) is None
    assert finite_numbers(["1", "2"], 3) is None
    assert np.isnan(parse_numbers("1 nan")).tolist() == [False, True]


# ------------------------------------------------------------------------------------- files


def test_all_numbers_of_a_file(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("1 2\n\n3.0-101 4D0\n")
    assert read_numbers(path).tolist() == [1, 2, 3e-101, 4]
    path.write_text("1 2\n\n3.0*** 4\n")
    with pytest.raises(FormatError, match=r"numbers \(line 3\): a word .* Found '3.0\*\*\*'"):
        read_numbers(path)
    with pytest.raises(MissingDataError, match="cannot be read"):
        read_numbers(tmp_path / "nothing")


def test_what_must_be_text(tmp_path):
    path = tmp_path / "run.dat"
    path.write_bytes(b"caf\xe9\n")
    assert load_text(path, "an input", "OpenMX").encode("utf-8", "surrogateescape") == b"caf\xe9\n"
    for content, found in ((b" \n", "an empty file"), (b"a\0b", "binary data")):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=f"this is not an input.*{found}.*as OpenMX reads"):
            load_text(path, "an input", "OpenMX")


@pytest.mark.parametrize("piece", [24, 64, 2**22])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_line_of_a_damaged_number(any_numpy, tmp_path, monkeypatch, piece, suffix):
    monkeypatch.setattr("dock.io.text._PIECE", piece)
    path = tmp_path / f"numbers{suffix}"
    text = "# 3.0*** in a comment\nhead\n" + "1 2 3\n" * 9 + "# more\n(4,5) 3.0*** 7D0\n8 9 10\n"
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    for method in ("take", "take_rest"):
        with TextNumbers(path) as numbers:
            assert numbers.line() == b"head"
            with pytest.raises(FormatError, match=r"\(values, line 13\).*Found '3.0\*\*\*'"):
                getattr(numbers, method)(34, float, "values")


def test_the_line_of_a_number_behind_a_line_that_was_given_back(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("0 0\n  1 x 2  \n3 4\n")
    with TextNumbers(path) as numbers:
        numbers.line()
        numbers.push_back(numbers.line())
        assert numbers.peek() == b"1 x 2\n"
        with pytest.raises(FormatError, match=r"\(columns, line 2\).*int64 numbers. Found 'x'"):
            numbers.take(5, np.int64, "columns")


def test_long_lines_are_read_in_pieces(tmp_path, monkeypatch, rng):
    monkeypatch.setattr("dock.io.text._PIECE", 37)
    values = rng.normal(size=200) * 10.0 ** rng.integers(-9, 9, 200)
    path = tmp_path / "numbers"
    path.write_text(
        "# head\n"
        + " ".join(f"{x:.8e}" for x in values)
        + "\n 4 5\n"
        + " ".join(f"({x:.8e},{-x:.8e})" for x in values)
    )
    expected = np.array([float(f"{x:.8e}") for x in values])
    with TextNumbers(path) as numbers:
        np.testing.assert_array_equal(numbers.take(200, float, "values"), expected)
        assert numbers.line() == b"4 5"
        found = numbers.take(200, complex, "values")
        np.testing.assert_array_equal(found, expected - 1j * expected)
        assert numbers.line() is None
    with TextNumbers(path) as numbers:
        assert numbers.raw_line() == b"# head"
    rest = path.read_text().split("\n", 1)[1].translate(str.maketrans("(),", "   "))
    path.write_text(rest)
    with TextNumbers(path) as numbers, pytest.raises(FormatError, match="not complete"):
        numbers.take_rest(602, float, "values")
    path.write_text(f"{rest}\n")
    with TextNumbers(path) as numbers:
        assert len(numbers.take_rest(602, float, "values")) == 602
    for count in (601, 603):
        with TextNumbers(path) as numbers, pytest.raises(FormatError, match=r"cut|too many"):
            numbers.take_rest(count, float, "values")


def test_an_impossible_count_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("1 2 3\n")
    with TextNumbers(path) as numbers, pytest.raises(FormatError, match="count cannot be right"):
        numbers.take(10**15, float, "values")
    with TextNumbers(path) as numbers, pytest.raises(FormatError, match="count cannot be right"):
        numbers.take(-1, float, "values")


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingDataError, match="cannot be read"):
        TextNumbers(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "dock convert /home/ann/si -o ../x --basis=/opt/pao/",
            "dock convert si -o ../x --basis=pao",
        ),
        ("/home/Ann Example/my data", "my data"),
        ("DATA.PATH  /home/ann/DFT_DATA19\n1/2 eV/Å", "DATA.PATH  DFT_DATA19\n1/2 eV/Å"),
        ("/home/ann/x: not converged, 3/4", "x: not converged, 3/4"),
        ("~/runs/si", "si"),
        ("file:///home/ann/x", "x"),
        ("C:\\Users\\ann\\x.toml", "x.toml"),
        *((same, same) for same in ("http://a.b/c/d", "./DFT_DATA", "../a/b", "&end /", "1 / 2")),
    ],
)
def test_no_folder_of_a_machine(text, wanted):
    assert without_folders({"a": [text, 1]}) == {"a": [wanted, 1]}
