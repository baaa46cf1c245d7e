"""Atoms without a nucleus, of several kinds at once, and species that are no element."""

import json
import re
import shutil

import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.converters.abacus import FORMAT as ABACUS
from dock.converters.structure_files import read_structure
from dock.core.basis import Basis
from dock.core.structure import Structure

HS = WriteOptions(quantities=("hamiltonian", "overlap"))


def with_labels(calc, labels, numbers):
    """The calculation with other species: the numbers stay, what they belong to does not."""
    structure = Structure(calc.structure.cell, calc.structure.positions, numbers, labels)
    shells = {
        label: calc.basis.shells[own]
        for label, own in zip(labels, calc.structure.labels, strict=True)
    }
    basis = Basis(shells, labels)
    matrices = {
        name: dock.core.matrix.AOMatrix(
            name, structure, basis, calc.require(name).pairs, calc.spin, calc.require(name).entries
        )
        for name in ("overlap", "hamiltonian")
    }
    return dock.Calculation(structure, basis, calc.spin, matrices, calc.fermi_level, 8.0)


@pytest.fixture
def ghosts(bundled):
    """Water in which oxygen and one hydrogen have no nucleus: two kinds of ghost, two bases."""
    calc = dock.read(bundled / "siesta" / "h2o")
    return with_labels(calc, ("GHOST-O", "H", "GHOST-H"), np.array([0, 1, 0]))


def test_several_kinds_in_a_unified_folder(ghosts, tmp_path):
    dock.write(ghosts, tmp_path / "x")
    assert (tmp_path / "x" / "POSCAR").read_text().splitlines()[5] == "X H My1"
    own = json.loads((tmp_path / "x" / "info.json").read_text())["dock"]
    assert own["elements"] == {"GHOST-H": "X"}
    again = dock.read(tmp_path / "x")
    assert again.structure.labels == ghosts.structure.labels
    assert again.structure.symbols == ("X", "H", "X")
    samples.same_matrices(again, ghosts)
    dock.write(again, tmp_path / "y")
    assert dock.read(tmp_path / "y").structure.symbols == ("X", "H", "X")
    assert samples.cli("check", tmp_path / "x").code == 0


@pytest.mark.parametrize("target", ["abacus", "siesta", "openmx"])
def test_go_to_every_code_and_come_back(ghosts, tmp_path, target):
    dock.write(ghosts, tmp_path / "x")
    dock.write(dock.read(tmp_path / "x"), tmp_path / target, target)
    again = dock.read(tmp_path / target)
    numbers = dict(zip(again.structure.labels, again.structure.numbers.tolist(), strict=True))
    assert sorted(numbers.values()) == [0, 0, 1]
    if target == "abacus":
        assert numbers == {"O_empty": 0, "H_empty": 0, "H": 1}
        assert "O_empty 15.999" in (tmp_path / "abacus" / "STRU").read_text()
    if target == "siesta":
        text = (tmp_path / "siesta" / "dock.fdf").read_text()
        assert re.search(r"^ \d -8 GHOST-O$", text, re.MULTILINE)
        assert read_structure(tmp_path / "siesta" / "dock.fdf").structure.symbols == ("X", "H", "X")
    order = [list(again.structure.symbols), again.basis.counts.tolist()]
    assert sorted(zip(*order, strict=True)) == [("H", 5), ("X", 5), ("X", 13)]


def test_abacus_calls_them_empty(bundled, tmp_path):
    run = shutil.copytree(bundled / "abacus" / "graphene", tmp_path / "run")
    for file in (run / "STRU", run / "OUT.ABACUS" / "running_scf.log"):
        file.write_text(re.sub(r"\bC\b(?!_)", "C_empty", file.read_text()))
    calc = ABACUS.load(run)
    assert calc.structure.symbols == ("X", "X")
    assert set(calc.structure.labels) == {"C_empty"}


@pytest.mark.shared
def test_cases(shared, tmp_path):
    calc = dock.read(shared / "cases/K5-ghosts/A23_empty_one")
    assert dict(zip(calc.structure.labels, calc.structure.symbols, strict=True)) == {
        "O": "O", "H": "H", "H_empty": "X", "Si": "Si",
    }  # fmt: skip
    pytest.importorskip("pyscf")
    answer = samples.cli("convert", shared / "cases/K5-ghosts/pyscf", "-o", tmp_path / "x")
    assert answer.code == 0, answer
    symbols = dock.read(tmp_path / "x").structure.symbols
    assert symbols.count("X") == 2, symbols


class TestSyntheticAtoms:
    @pytest.fixture
    def run(self, bundled, tmp_path):
        """A run whose oxygen is a mixture, number 201, by XV and fdf (TSHS has no species)."""
        run = tmp_path / "run"
        shutil.copytree(bundled / "siesta" / "h2o", run, ignore=shutil.ignore_patterns("*.HSX"))
        xv = run / "h2o.XV"
        xv.write_text(re.sub(r"^(\s+1\s+)  8 ", r"\g<1>201 ", xv.read_text(), flags=re.MULTILINE))
        fdf = run / "h2o.fdf"
        fdf.write_text(
            re.sub(r"^(\s*1\s+)8(\s+O)", r"\g<1>201\2", fdf.read_text(), flags=re.MULTILINE)
        )
        return run

    def test_are_read_and_said(self, run, tmp_path):
        calc = dock.read(run)
        assert calc.structure.symbols == ("My1", "H", "H")
        assert any("synthetic atom" in note for note in calc.provenance.extra["notes"])
        dock.write(calc, tmp_path / "x", options=HS)
        dock.write(dock.read(tmp_path / "x"), tmp_path / "back", "siesta")
        text = next((tmp_path / "back").glob("*.fdf")).read_text()
        assert re.search(r"^ 1 201 O$", text, re.MULTILINE)
        assert "SyntheticAtoms" in text
        assert read_structure(run / "h2o.fdf").structure.symbols == ("My1", "H", "H")
        assert dock.read(tmp_path / "back").structure.symbols == ("My1", "H", "H")
