"""The zero of energy and free atoms: against published results, there and back, bad input."""

import json
import shutil

import h5py
import lattice_models
import numpy as np
import pytest
from samples import OPENMX, cli, listing, refused

import dock
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, MissingDataError, OutputError, UsageError
from dock.post.align import (
    RECORD,
    Aligned,
    align,
    least_squares_shift,
    minus_atoms,
    names_of,
    plus_atoms,
    read_aligned,
    read_atoms,
    undo,
)
from dock.results import KEYS

SPINS = list(Spin)


@pytest.fixture
def legacy(shared):
    return shared / "public" / "deeph_legacy"


def largest(first, second):
    return np.abs((first - second).entries).max()


@pytest.mark.shared
def test_least_squares_equals_the_published_result(legacy):
    start = dock.read(legacy / "MoTe2/reference_upgraded")
    expected = dock.read(legacy / "MoTe2/reference_standardized")
    found = align(start)
    assert largest(found.calculation.hamiltonian, expected.hamiltonian) < 1e-13
    assert found.shift == pytest.approx(-13.088161748833176, abs=1e-12)
    # The Fermi level is on the same scale as H; the published file kept the old one.
    assert found.calculation.fermi_level == pytest.approx(start.fermi_level - found.shift)


@pytest.mark.shared
def test_minus_atoms_equals_the_published_result(legacy, tmp_path):
    start = dock.read(legacy / "MoTe2/reference_upgraded")
    for name in ("POSCAR", "info.json", "overlap.h5"):
        shutil.copyfile(legacy / "MoTe2/reference_upgraded" / name, tmp_path / name)
    shutil.copyfile(legacy / "MoTe2/reference_minus_core/hamiltonian.h5", tmp_path / "x.h5")
    (tmp_path / "x.h5").rename(tmp_path / "hamiltonian.h5")
    expected = dock.read(tmp_path)
    atoms = read_atoms(legacy / "single_atoms", start)
    found = minus_atoms(start, atoms)
    assert largest(found.calculation.hamiltonian, expected.hamiltonian) < 1e-13
    back = plus_atoms(found, atoms)
    assert largest(back.calculation.hamiltonian, start.hamiltonian) < 1e-13
    assert [step["sign"] for step in back.steps] == [-1, 1]


@pytest.mark.parametrize("spin", SPINS)
def test_there_and_back(spin):
    """Levels move by −μ, the projection on S vanishes, and all steps are taken back."""
    calc = lattice_models.random_calculation(1, spin).replace(fermi_level=0.3)
    found = align(calc)
    k = [0.1, 0.2, 0.3]
    H, S = calc.hamiltonian, calc.overlap
    assert np.allclose(found.calculation.hamiltonian.k(k), (H - found.shift * S).k(k), atol=1e-13)
    assert abs(least_squares_shift(found.calculation)) < 1e-13
    rng = np.random.default_rng(5)
    atoms = {
        label: rng.normal(size=(spin.n_components, n, n))
        for label, n in zip(calc.basis.labels, calc.basis.counts, strict=True)
    }
    both = minus_atoms(found, atoms)
    assert largest(both.calculation.hamiltonian, found.calculation.hamiltonian) > 0.1
    again = undo(both)
    assert largest(again.calculation.hamiltonian, H) < 1e-13
    assert again.calculation.fermi_level == pytest.approx(0.3, abs=1e-14)
    assert again.steps == ()
    moved = calc.replace(matrices={**calc.matrices, "hamiltonian": H + 0.7 * S})
    assert align(moved, calc).shift == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize("name", ["h2o", "o2-spin", "o2-nc-soc"])
def test_on_the_command_line(tmp_path, name):
    dock.write(dock.read(OPENMX / name), tmp_path / "in")
    before = {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    answer = cli("align", tmp_path / "in", "-o", tmp_path / "a", "--json")
    facts = json.loads(answer.out)
    assert answer.code == 0
    assert facts["shift_eV"] == pytest.approx(least_squares_shift(dock.read(tmp_path / "in")))
    assert cli("align", tmp_path / "a", "--to", tmp_path / "in", "-o", tmp_path / "b").code == 0
    first = read_aligned(tmp_path / "b")
    assert [list(step) for step in first.steps] == [["shift_eV"], ["shift_eV"]]
    assert first.shift == pytest.approx(0, abs=1e-12)
    answer = cli("align", tmp_path / "a", "--undo", "-o", tmp_path / "c")
    assert "taken back" in answer.out
    original, again = dock.read(tmp_path / "in"), dock.read(tmp_path / "c")
    assert largest(original.hamiltonian, again.hamiltonian) < 1e-12
    assert again.fermi_level == pytest.approx(original.fermi_level, abs=1e-12)
    assert largest(original.density_matrix, again.density_matrix) == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before


def test_free_atoms_in_another_spin_layout(tmp_path):
    calc = dock.read(OPENMX / "o2-nc-soc")
    single = calc.structure.select([0])
    H = calc.hamiltonian.select_atoms([0])
    onsite = H.take_pairs(H.pairs.onsite)
    uu, dd = onsite.entries[:1].real, onsite.entries[3:].real
    for spin, entries in ((Spin.NONE, uu), (Spin.COLLINEAR, np.concatenate([uu, dd]))):
        part = dock.AOMatrix("hamiltonian", single, onsite.basis, onsite.pairs, spin, entries)
        S = dock.AOMatrix(
            "overlap", single, onsite.basis, onsite.pairs, Spin.NONE, np.eye(5).reshape(1, -1)
        )
        atom = dock.Calculation(
            single, onsite.basis, spin, {"hamiltonian": part, "overlap": S}, None, 6.0
        )
        dock.write(atom, tmp_path / spin.value / "O")
        block = read_atoms(tmp_path / spin.value, calc)["O"]
        assert np.allclose(block[0], uu.reshape(5, 5))
        assert not block[1].any()
        assert np.allclose(block[3], (uu if spin is Spin.NONE else dd).reshape(5, 5))
    target = tmp_path / "minus"
    answer = cli("align", OPENMX / "o2-nc-soc", "--minus-core", tmp_path / "none", "-o", target)
    assert "taken off: O" in answer.out
    assert largest(
        undo(read_aligned(target)).calculation.hamiltonian, calc.hamiltonian
    ) == pytest.approx(0, abs=1e-12)
    collinear = dock.read(OPENMX / "h2o")
    with pytest.raises(MissingDataError, match="named H"):
        read_atoms(tmp_path / "none", collinear)


def test_the_face_of_the_result(tmp_path):
    dock.write(dock.read(OPENMX / "h2o"), tmp_path / "in")
    result = align(read_aligned(tmp_path / "in"))
    assert set(result.json()) <= set(KEYS)
    assert result.json()["steps"] == names_of(result.steps)
    assert "μ = " in repr(result)
    assert len(repr(result)) < 150
    assert "<th style='text-align:left'>done</th>" in result._repr_html_()
    files = result.save(tmp_path / "out")
    before = listing(tmp_path / "out")
    assert sorted(before) == [file.name for file in files]
    with pytest.raises(OutputError, match="overwrite"):
        result.save(tmp_path / "out")
    assert listing(tmp_path / "out") == before
    back = undo(read_aligned(tmp_path / "out"))
    assert back.facts()["undone"]
    assert back.facts()["steps"] == result.facts()["steps"]
    with pytest.raises(UsageError, match="no figure"):
        result.plot(tmp_path / "x.png")


def test_bad_input(tmp_path):
    dock.write(dock.read(OPENMX / "h2o"), tmp_path / "in")
    place = tmp_path / "in"
    refused(cli("align", place, "-o", place, "--overwrite"), "the input itself")
    refused(cli("align", place, "--undo", "-o", tmp_path / "x"), RECORD)
    refused(cli("align", place, "--undo", "--to", place), "one of")
    refused(cli("align", place, "--to", OPENMX / "o2-spin", "-o", tmp_path / "x"), "spin")
    refused(cli("align", place, "--minus-core", tmp_path, "-o", tmp_path / "x"), "free atom of")
    assert not (tmp_path / "x").exists()
    assert cli("align", place, "-o", tmp_path / "y").code == 0
    refused(cli("align", place, "-o", tmp_path / "y"), "overwrite")
    for text in ("{", "[]", '{"steps": [{}]}', '{"steps": [{"atoms": 3}]}'):
        (tmp_path / "y" / RECORD).write_text(text)
        with pytest.raises(FormatError, match="steps"):
            read_aligned(tmp_path / "y")
    calc = dock.read(place)
    with pytest.raises(UsageError, match="free atoms of"):
        minus_atoms(calc, {"O": np.zeros((1, 9, 9))})
    with pytest.raises(LayoutError, match="does not fit"):
        minus_atoms(calc, {label: np.zeros((1, 2, 2)) for label in calc.basis.species})
    with pytest.raises(OutputError, match="input itself"):
        Aligned(calc).save(place, overwrite=True)
    without = calc.replace(matrices={"hamiltonian": calc.hamiltonian})
    with pytest.raises(MissingDataError, match="compute-overlap"):
        align(without)
    assert names_of([{"atoms": {"O": 0}, "sign": 1}]) == ["free atoms added: O"]


def test_the_h_of_free_atoms_keeps_its_zero_and_that_is_said(tmp_path):
    shutil.copytree(OPENMX.parent / "unified" / "si", tmp_path / "x")
    shutil.copy(tmp_path / "x" / "hamiltonian.h5", tmp_path / "x" / "hamiltonian_init.h5")
    with h5py.File(tmp_path / "x" / "hamiltonian_init.h5", "r+") as file:
        file.attrs["quantity"] = "hamiltonian_init"
    answer = cli("align", tmp_path / "x", "-o", tmp_path / "y")
    assert answer.code == 0, answer
    assert "not moved along with H: hamiltonian_init" in answer.err
