"""The one door to HDF5: files that are missing, damaged or locked; nobody goes around it."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import dock
from dock.errors import FormatError, MissingDataError
from dock.io.hdf5 import has_names, new_hdf5, open_hdf5

FIX = "Copy it again."


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.h5"
    with new_hdf5(path) as file:
        file["group/values"] = np.arange(1000.0)
    return path


def test_what_is_there_is_read(path):
    with open_hdf5(path, FIX) as file:
        assert file["group/values"][999] == 999


def test_a_missing_file(tmp_path):
    with (
        pytest.raises(MissingDataError, match=r"none\.h5 is missing"),
        open_hdf5(tmp_path / "none.h5", FIX),
    ):
        pass
    with pytest.raises(MissingDataError, match="cannot be read"):
        has_names(tmp_path / "none.h5", "group")


def test_a_cut_file(path):
    path.write_bytes(path.read_bytes()[:-100])
    with (
        pytest.raises(FormatError, match=r"NetCDF cannot read this file\..*Copy it again"),
        open_hdf5(path, FIX, "NetCDF") as file,
    ):
        file["group/values"][()]


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), ValueError("x"), OSError("x")])
def test_what_the_library_says_in_the_middle(path, error):
    with (
        pytest.raises(FormatError, match=r"some.h5: HDF5 cannot read .* Found .*x.*Copy it"),
        open_hdf5(path, FIX),
    ):
        raise error


def test_a_locked_file_has_a_remedy_of_its_own(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("unable to lock file, errno = 11")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(FormatError, match="HDF5_USE_FILE_LOCKING=FALSE"), open_hdf5(path, FIX):
        pass


def test_names_tell_what_a_file_is(path, tmp_path):
    assert has_names(path, "group", "group/values")
    assert not has_names(path, "group/other")
    text = tmp_path / "text.h5"
    text.write_text("this is text")
    assert not has_names(text, "group")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FormatError):
        has_names(path, "group")


def test_nobody_goes_around_the_door():
    root = Path(dock.__file__).parent
    around = [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*.py"))
        if re.search(r"\bh5py\.File\(|from h5py import", path.read_text(encoding="utf-8"))
    ]
    assert around == ["io/hdf5.py"]
