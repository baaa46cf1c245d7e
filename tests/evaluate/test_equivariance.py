"""Rotated copies and their test."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st
from samples import OPENMX, cli, refused, rewrite

import dock
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError, OutputError, UsageError
from dock.evaluate.equivariance import (
    ROTATION,
    find_rotation,
    measure,
    random_rotations,
    write_rotated,
)
from dock.results import KEYS


@pytest.mark.shared
def test_real_calculations_of_one_molecule_in_three_orientations(shared):
    errors = measure(shared / "public" / "equivariance_H2O")
    assert [error.name for error in errors] == ["1", "2"]
    for error in errors:
        assert error.rms < 5e-5
        assert error.angle > 100


@pytest.mark.parametrize("system", ["mos2", "o2-spin", "o2-nc-soc"])
@pytest.mark.parametrize("stored", [True, False])
def test_rotated_copies_are_equivariant(tmp_path, system, stored):
    calc = dock.read(OPENMX / system)
    write_rotated(calc, tmp_path, random_rotations(2, improper=stored))
    if not stored:
        for file in tmp_path.rglob(ROTATION):
            file.unlink()
    if system != "mos2" and not stored:
        return  # two atoms on a line leave the turn about it open; the cell decides for crystals
    errors = measure(tmp_path)
    assert [error.improper for error in errors] == [False, stored]
    assert max(error.largest for error in errors) < 1e-10


def test_an_error_is_seen(tmp_path):
    write_rotated(dock.read(OPENMX / "h2o"), tmp_path, random_rotations(2))
    rewrite(tmp_path / "2" / "hamiltonian.h5", entries=lambda old: old + 1e-3)
    first, second = measure(tmp_path)
    assert first.largest < 1e-10
    assert second.mean == pytest.approx(1e-3, rel=1e-6)
    answer = cli("equivariance", "test", tmp_path, "--tolerance", 1e-5)
    assert answer.code == 1
    assert "1.000e-03" in answer.out
    other = cli("equivariance", "test", tmp_path, "--original", "2", "--json")
    assert len(other.out.splitlines()) == 2


def test_the_face_of_the_result(tmp_path):
    write_rotated(dock.read(OPENMX / "h2o"), tmp_path, random_rotations(2, improper=True))
    result = measure(tmp_path)
    assert set(result.json()) <= set(KEYS)
    assert set(result[0].facts()) <= set(KEYS)
    assert result.json()["n_copies"] == len(result) == 2
    assert result.json()["improper"] == [False, True]
    assert result.largest == max(error.largest for error in result)
    assert "and inversion" in result.table()
    assert len(repr(result)) < 250
    assert "copy 1" in result._repr_html_()
    files = result.save(tmp_path / "errors.h5")
    before = [file.read_bytes() for file in files]
    with h5py.File(files[0]) as file:
        assert file["max_eV"].shape == (2,)
    with pytest.raises(OutputError, match="overwrite"):
        result.save(tmp_path / "errors.h5")
    assert [file.read_bytes() for file in files] == before
    answer = cli("equivariance", "test", tmp_path, "--json")
    assert [json.loads(line)["name"] for line in answer.out.splitlines()] == ["1", "2"]


def test_command_generates_and_tests(tmp_path):
    answer = cli("equivariance", "generate", OPENMX / "h2o", "-o", tmp_path, "--count", 1)
    assert answer.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert cli("equivariance", "test", tmp_path, "--tolerance", 1e-9).code == 0
    refused(cli("equivariance", "generate", OPENMX / "h2o", "-o", tmp_path), "--overwrite")


@given(seed=st.integers(0, 2**32 - 1), mirror=st.booleans())
def test_a_rotation_is_found_again(seed, mirror):
    rng = np.random.default_rng(seed)
    structure = Structure(4 * np.eye(3) + rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), [6] * 5)
    Q = random_rotations(2, seed=seed, improper=mirror)[1]
    assert np.allclose(find_rotation(structure, structure.rotate(Q)), Q, atol=1e-8)


def test_random_rotations_have_no_direction_of_their_own():
    turned = np.array([Q @ [0, 0, 1] for Q in random_rotations(2000)])
    assert np.abs(turned.mean(axis=0)).max() < 0.05
    assert np.allclose(np.cov(turned.T), np.eye(3) / 3, atol=0.03)


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match="at least one"):
        random_rotations(0)
    water = Structure(np.eye(3) * 9, [[0, 0, 0], [1, 0, 0], [-0.2, 0.9, 0]], [8, 1, 1])
    with pytest.raises(LayoutError, match="other atoms"):
        find_rotation(water, water.select([1, 0, 2]))
    with pytest.raises(LayoutError, match="no rotation"):
        find_rotation(water, Structure(np.eye(3) * 9, [[0, 0, 0], [2, 0, 0], [0, 1, 0]], [8, 1, 1]))
    write_rotated(dock.read(OPENMX / "h2o"), tmp_path, random_rotations(1))
    with pytest.raises(MissingDataError, match="generate"):
        measure(tmp_path, original="7")
    with pytest.raises(MissingDataError, match="its own Hamiltonian"):
        measure(tmp_path, file="hamiltonian_pred.h5")
    (tmp_path / "1" / ROTATION).write_text(json.dumps({"Q": "x"}))
    with pytest.raises(FormatError, match="no rotation can be read"):
        measure(tmp_path)
