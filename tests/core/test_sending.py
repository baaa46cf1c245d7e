"""Calculations in other processes: they go without their matrices, and read them there."""

import multiprocessing
import operator
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from synthetic import random_case

import dock
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError

RUNS = [
    "openmx/si",
    "siesta/graphene",
    "abacus/graphene",
    "unified/si",
    "deeph/o2_soc_split",
    "deeph/o2_collinear_stacked",
    "pyscf/h2o",
]


def sent(calc):
    return pickle.loads(pickle.dumps(calc))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("run", RUNS)
def test_matrices_stay_in_their_files(bundled, run):
    if run.startswith("pyscf"):
        pytest.importorskip("pyscf.gto")
    calc = dock.read(bundled / run)
    before = len(pickle.dumps(calc))
    entries = {name: calc.require(name).entries for name in calc.available}
    assert len(pickle.dumps(calc)) < before + 4000  # what is read does not go along
    other = sent(calc)
    assert not other._loaded
    assert other.available == calc.available
    assert repr(other) == repr(calc)
    for name, values in entries.items():
        np.testing.assert_array_equal(other.require(name).entries, values)


def test_a_second_process_elsewhere(bundled, tmp_path, monkeypatch):
    """Pickled by `multiprocessing` under a relative name, read in a process of another folder."""
    shutil.copytree(bundled / "siesta" / "h2o", tmp_path / "h2o")
    monkeypatch.chdir(tmp_path)
    calc = dock.read("h2o")
    there = tmp_path / "elsewhere"
    there.mkdir()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=os.chdir, initargs=(there,)) as pool:
        back = pool.submit(operator.methodcaller("require", "hamiltonian"), calc).result()
        assert not calc._loaded
        shutil.rmtree(tmp_path / "h2o")
        with pytest.raises(MissingDataError, match=r"h2o.*h2o\.HSX.*missing"):
            pool.submit(operator.attrgetter("overlap"), calc).result()
    original = dock.read(bundled / "siesta" / "h2o").hamiltonian
    np.testing.assert_array_equal(back.entries, original.entries)
    assert back.basis.is_same(original.basis)


@pytest.mark.parametrize("run", ["siesta/h2o", "unified/si", "abacus/graphene", "openmx/si"])
def test_another_file_in_its_place_is_not_read(bundled, tmp_path, run):
    folder = shutil.copytree(bundled / run, tmp_path / "run")
    calc = dock.read(folder)
    content, again = pickle.dumps(calc), pickle.dumps(sent(calc))
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, ns=(1, 1))
    for bytes_of in (content, again):
        other = pickle.loads(bytes_of)  # noqa: S301 - our own bytes
        with pytest.raises(FormatError, match="changed since its calculation was sent"):
            other.require("hamiltonian")
    assert dock.read(folder).hamiltonian is not None


def test_joblib(bundled):
    joblib = pytest.importorskip("joblib")
    from dock.post import bands

    calc = dock.read(bundled / "openmx" / "si")
    calc.require("hamiltonian")
    tasks = [joblib.delayed(bands)(calc, path, points=3, jobs=1) for path in ("LG", "GX")]
    first, second = joblib.Parallel(n_jobs=2, backend="loky")(tasks)
    alone = bands(calc, "LG", points=3)
    np.testing.assert_allclose(first.energies, alone.energies, rtol=0, atol=1e-10)
    assert second.gap.kind == "insulator"


def test_changed_calculations_go_too(bundled):
    from dock.converters.origin import relabelled, with_moved_atoms

    calc = dock.read(bundled / "openmx" / "si")
    shift = np.array([[0, 0, 0], [1, 0, 0]])
    positions = calc.structure.positions - shift @ calc.structure.cell
    for changed in (
        calc.permute_atoms([1, 0]),
        relabelled(calc, {"Si": "Si1"}),
        with_moved_atoms(calc, shift, positions),
    ):
        other = sent(changed)
        np.testing.assert_array_equal(other.overlap.entries, changed.overlap.entries)


def test_matrices_in_memory_go_along():
    matrix = random_case(6, Spin.COLLINEAR)
    calc = dock.Calculation(matrix.structure, matrix.basis, matrix.spin, {"H": matrix})
    np.testing.assert_array_equal(sent(calc).hamiltonian.entries, matrix.entries)


def test_a_function_that_cannot_be_sent():
    matrix = random_case(6)
    given = {"H": matrix, "S": lambda: matrix}
    calc = dock.Calculation(matrix.structure, matrix.basis, matrix.spin, given)
    with pytest.raises(UsageError, match=r"the overlap is made by a function.*dock\.write"):
        pickle.dumps(calc)
