"""The bundled data are described, small, free of paths of one machine, and up to date."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest

import dock


def runs(folder):
    return sorted({file.parent for file in folder.glob("*/*/*")})


def texts(attributes):
    return {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in attributes.items()
    }


def test_every_folder_is_described(bundled):
    listed = (bundled / "README.md").read_text(encoding="utf-8")
    for system in runs(bundled):
        described = (system / "README.md").is_file() or (system.parent / "README.md").is_file()
        name = system.relative_to(bundled).as_posix()
        assert described or f"`{name}`" in listed, name


def test_data_are_small(bundled):
    assert sum(file.stat().st_size for file in bundled.rglob("*") if file.is_file()) < 15e6


@pytest.mark.parametrize("name", ["info.json", "*.h5"])
def test_unified_folder_names_no_machine(bundled, name):
    files = list((bundled / "unified" / "si").glob(name))
    assert files
    for file in files:
        assert not re.search(rb"[\s\"'=]/[A-Za-z][\w.-]+/", file.read_bytes()), file


def test_unified_folder_is_what_the_converter_writes(bundled, tmp_path):
    folder = bundled / "unified" / "si"
    dock.write(dock.read(bundled / "openmx" / "si"), tmp_path / "si")
    made = {file.name for file in (tmp_path / "si").iterdir()}
    assert made == {file.name for file in folder.iterdir()}
    for name in sorted(made):
        if name.endswith(".h5"):
            with h5py.File(folder / name) as old, h5py.File(tmp_path / "si" / name) as new:
                assert texts(old.attrs) == texts(new.attrs)
                for dataset in old:
                    np.testing.assert_array_equal(old[dataset][()], new[dataset][()])
    assert (folder / "POSCAR").read_text() == (tmp_path / "si" / "POSCAR").read_text()
    old, new = (
        json.loads((place / "info.json").read_text()) for place in (folder, tmp_path / "si")
    )
    old["dock"]["provenance"]["command"] = new["dock"]["provenance"]["command"]
    assert old == new
