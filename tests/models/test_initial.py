"""Models of what H is beyond that of superposed free atoms: trained, kept, predicted with."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import make_set, small_options

import dock
from dock.converters.deeph.blockfile import read_attributes
from dock.converters.deeph.poscar import format_poscar
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError, UsageError
from dock.models import load, train
from dock.models.modelfile import read_model, write_model
from dock.models.network.inference.export import export_model
from dock.models.predict import PredictionJob, failures, find_targets, predict
from dock.models.targets import TargetLayout
from dock.overlap_folder import FREE_ATOMS, OverlapJob, OverlapTarget

IONS = Path("fixtures/models/bilayer").resolve()
LEFT = 0.1  # eV: H is H₀ + 0.1 S, so that what is left is known to the last digit


def dimer(length):
    """Two carbon atoms alone."""
    places = [[1.0, 1.1, 1.2], [1.0 + 0.8 * length, 1.1 + 0.6 * length, 1.2]]
    return Structure(np.eye(3) * 8.0, places, [6, 6])


@pytest.fixture(scope="module")
def carbon(tmp_path_factory):
    """Four pairs of atoms, with S and H₀ of SIESTA's basis files."""
    root = tmp_path_factory.mktemp("carbon")
    for number, length in enumerate((1.2, 1.3, 1.4, 1.5)):
        folder = root / f"c{number}"
        folder.mkdir()
        (folder / "POSCAR").write_text(format_poscar(dimer(length)))
        target = OverlapTarget.of(folder, None)
        job = OverlapJob.prepare(folder, IONS, target, pattern="auto", quantities=("S", "H0"))
        job.write(target, ("S", "H0"), jobs=1)
        calc = dock.read(folder)
        H = replace(calc.require("hamiltonian0"), quantity="hamiltonian") + LEFT * calc.overlap
        calc = calc.replace(matrices={**calc.matrices, "hamiltonian": H}, n_electrons=8.0)
        dock.write(calc, folder, overwrite=True)
    return root


@pytest.fixture(scope="module")
def closed(carbon, tmp_path_factory):
    """A closed form of what is left."""
    folder = tmp_path_factory.mktemp("closed")
    keys = {"model.backend": "two-centre"}
    train(small_options(folder / "t.toml", carbon, folder / "run", **keys))
    return folder / "run"


def known(calc):
    """H as it was made."""
    return replace(calc.require("hamiltonian0"), quantity="hamiltonian") + LEFT * calc.overlap


def test_what_is_left_is_learned(carbon, closed):
    model = load(closed)
    assert model.scope.layout.less == model.describe()["less"] == "hamiltonian0"
    calc = dock.read(carbon / "c2")
    found = model.predict(calc.structure, calc.overlap, initial=calc.require("hamiltonian0"))
    assert np.abs((found - known(calc)).entries).max() < 2e-3
    assert found.hermiticity_error() == 0
    with pytest.raises(UsageError, match=r"beyond the hamiltonian0.*pass initial="):
        model.predict(calc.structure, calc.overlap)


def test_older_programs_refuse_the_file(closed, tmp_path):
    """What an older version would return is H − H₀: it must not take the file at all."""
    with h5py.File(closed / "model" / "best.h5") as file:
        assert json.loads(file.attrs["head"])["version"] == 3
    file = read_model(closed)
    write_model(tmp_path / "again.h5", file)
    assert read_model(tmp_path / "again.h5").layout == file.layout


def test_infer_computes_it_where_it_is_missing(carbon, closed, tmp_path):
    """From POSCAR and basis files alone, and the same with the file of the folder."""
    calc = dock.read(carbon / "c1")
    (tmp_path / "POSCAR").write_bytes((carbon / "c1" / "POSCAR").read_bytes())
    for source, job in (
        (tmp_path / "POSCAR", PredictionJob(IONS, jobs=1)),
        (carbon / "c1", PredictionJob(jobs=1)),
    ):
        out = tmp_path / f"out-{source.name}"
        report = predict([load(closed)], find_targets([source], out), job)
        assert [outcome.status for outcome in report.outcomes] == ["done"], list(failures(report))
        assert json.loads((out / "prediction.json").read_text())["less"] == "hamiltonian0"
        found = dock.read(out).require("hamiltonian")
        assert np.abs((found - known(calc)).entries).max() < 2e-3


def test_infer_without_basis_files(carbon, closed, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("POSCAR", "info.json", "overlap.h5"):
        (source / name).write_bytes((carbon / "c0" / name).read_bytes())
    report = predict([load(closed)], find_targets([source], tmp_path / "out"), PredictionJob())
    (sentence,) = failures(report)
    assert "hamiltonian0.h5" in sentence
    assert "compute it with dock compute-overlap --quantities H0" in sentence
    assert not (tmp_path / "out").exists()


def test_of_another_program(carbon, tmp_path, caplog):
    """Trained beyond another program's matrix: none is computed in its place, one is warned of."""
    shutil.copytree(carbon, tmp_path / "set")
    for file in (tmp_path / "set").rglob("hamiltonian0.h5"):
        with h5py.File(file, "r+") as stored:
            stored.attrs["source_code"] = "aims 240507"
    keys = {"model.backend": "two-centre"}
    train(small_options(tmp_path / "t.toml", tmp_path / "set", tmp_path / "run", **keys))
    model = load(tmp_path / "run")
    assert model.scope.known_by == ("aims",)
    assert model.describe()["training_set"]["initial_by"] == ["aims"]
    (tmp_path / "POSCAR").write_bytes((carbon / "c1" / "POSCAR").read_bytes())
    targets = find_targets([tmp_path / "POSCAR"], tmp_path / "out")
    (sentence,) = failures(predict([model], targets, PredictionJob(IONS, jobs=1)))
    assert "learned beyond one that aims made" in sentence
    assert not (tmp_path / "out" / "hamiltonian_pred.h5").exists()
    for place, is_foreign in ((carbon / "c1", True), (tmp_path / "set" / "c1", False)):
        caplog.clear()
        targets = find_targets([place], tmp_path / f"out-{is_foreign}")
        report = predict([model], targets, PredictionJob(jobs=1))
        assert [outcome.status for outcome in report.outcomes] == ["done"]
        assert ("that of the training data by aims" in caplog.text) is is_foreign


def test_who_made_it_goes_where_the_run_goes(carbon, closed, tmp_path):
    """Written again, H₀ is still that of free atoms, and what was learned from it is known."""
    assert load(closed).scope.known_by == (FREE_ATOMS,)
    dock.write(dock.read(carbon / "c0"), tmp_path / "again")
    for name, is_made in (("hamiltonian0.h5", True), ("hamiltonian.h5", False)):
        words = read_attributes(tmp_path / "again" / name)["source_code"]
        assert words.startswith(FREE_ATOMS) is is_made


def test_of_another_spin(carbon, closed, tmp_path):
    shutil.copytree(carbon / "c0", tmp_path / "c0")
    calc = dock.read(carbon / "c0")
    free = calc.require("hamiltonian0")
    both = replace(free, spin=Spin.COLLINEAR, entries=np.repeat(free.entries, 2, axis=0))
    moved = replace(both, quantity="hamiltonian")
    matrices = {"overlap": calc.overlap, "hamiltonian0": both, "hamiltonian": moved}
    calc = calc.replace(matrices={})
    dock.write(
        replace(calc, spin=Spin.COLLINEAR, matrices=matrices), tmp_path / "c0", overwrite=True
    )
    targets = find_targets([tmp_path / "c0"], tmp_path / "out")
    (sentence,) = failures(predict([load(closed)], targets, PredictionJob(jobs=1)))
    assert "spin" in sentence
    assert "missing" not in sentence


def test_a_network_on_it(tmp_path):
    """``baseline = "initial"``: nothing else below the network; an exported program adds it too."""
    for folder in sorted(make_set(tmp_path / "set", (3,) * 6).iterdir()):
        calc = dock.read(folder)
        free = replace(calc.hamiltonian - LEFT * calc.overlap, quantity="hamiltonian0")
        dock.write(
            calc.replace(matrices={**calc.matrices, "hamiltonian0": free}), folder, overwrite=True
        )
    keys = {"model.baseline": "initial"}
    train(small_options(tmp_path / "t.toml", tmp_path / "set", tmp_path / "run", **keys))
    model = load(tmp_path / "run")
    assert model.describe()["baseline"] in (None, "none")
    calc = dock.read(tmp_path / "set" / "m03")
    free = calc.require("hamiltonian0")
    found = model.predict(calc.structure, calc.overlap, initial=free)
    left = np.abs(LEFT * calc.overlap.entries).mean()
    assert np.abs((found - calc.hamiltonian).entries).mean() < left
    with pytest.raises(UsageError, match="pass initial="):
        model.predict(calc.structure, calc.overlap)
    program = load(export_model(tmp_path / "run", tmp_path / "program.h5"))
    again = program.predict(calc.structure, calc.overlap, initial=free)
    assert np.abs((again - found).entries).max() < 1e-4


def test_auto_where_some_lack_it(tmp_path, caplog):
    """H itself is learned, and a warning says why; asked for, it is refused by name."""
    make_set(tmp_path / "set", (3,) * 6)
    first = dock.read(tmp_path / "set" / "m00")
    free = replace(first.hamiltonian, quantity="hamiltonian0")
    calc = first.replace(matrices={**first.matrices, "hamiltonian0": free})
    dock.write(calc, tmp_path / "set" / "m00", overwrite=True)
    keys = {"model.backend": "two-centre"}
    with caplog.at_level(logging.INFO, "dock"):
        train(small_options(tmp_path / "t.toml", tmp_path / "set", tmp_path / "run", **keys))
    assert "5 of 6 structures lack the H of superposed free atoms (m01, m02, m03, …)" in caplog.text
    assert load(tmp_path / "run").scope.layout.less == ""
    options = small_options(
        tmp_path / "u.toml", tmp_path / "set", tmp_path / "other", **keys, **{"model.initial": True}
    )
    with pytest.raises(UsageError, match="missing in 5 of 6 structures"):
        train(options)


def test_only_hamiltonians_are_less_of_one():
    with pytest.raises(UsageError, match="density_matrix cannot be learned less"):
        TargetLayout(("C",), ((0,),), Spin.NONE, "density_matrix", less="hamiltonian0")


def test_that_of_another_structure_is_refused(carbon, closed):
    one, two = dock.read(carbon / "c1"), dock.read(carbon / "c2")
    with pytest.raises(LayoutError, match="that of another structure"):
        load(closed).predict(one.structure, one.overlap, initial=two.require("hamiltonian0"))


class Other:
    """A model of another package, which knows of nothing to be added."""

    def __init__(self, model):
        self.scope, self.describe = model.scope, model.describe

    def predict(self, structure, overlap, moments=None):
        raise NotImplementedError


def test_a_model_that_adds_nothing_is_refused(carbon, closed, tmp_path):
    """What it returns is H − H₀, which must not be written as H."""
    targets = find_targets([carbon / "c1"], tmp_path / "out")
    with pytest.raises(UsageError, match=r"takes no initial=.*initial = false"):
        predict([Other(load(closed))], targets, PredictionJob(IONS, jobs=1))
    assert not (tmp_path / "out").exists()


def test_matrices_of_other_programs_are_not_replaced_by_ours(carbon, tmp_path):
    """hamiltonian_init.h5 of a program is not what the basis files of SIESTA give."""
    for number in range(4):
        calc = dock.read(carbon / f"c{number}")
        free = replace(calc.require("hamiltonian0"), quantity="hamiltonian_init")
        kept = {name: calc.require(name) for name in ("overlap", "hamiltonian")}
        calc = calc.replace(matrices={**kept, "hamiltonian_init": free})
        dock.write(calc, tmp_path / "set" / f"c{number}")
    keys = {"model.backend": "two-centre"}
    train(small_options(tmp_path / "t.toml", tmp_path / "set", tmp_path / "run", **keys))
    model = load(tmp_path / "run")
    assert model.scope.layout.less == "hamiltonian_init"
    source = carbon / "c1" / "POSCAR"
    report = predict([model], find_targets([source], tmp_path / "out"), PredictionJob(IONS, jobs=1))
    (sentence,) = failures(report)
    assert "hamiltonian_init.h5" in sentence
    assert "from the program that made those of the training data" in sentence
    assert not (tmp_path / "out" / "hamiltonian_pred.h5").exists()


def test_pairs_through_projectors_are_added_to_those_of_an_overlap(tmp_path):
    """Three atoms in a row: the outer two meet in the projectors of the middle one alone."""
    structure = Structure(np.diag([20.0, 8.0, 8.0]), [[4, 4, 4], [6.6, 4, 4], [9.2, 4, 4]], [6] * 3)
    (tmp_path / "POSCAR").write_text(format_poscar(structure))
    target = OverlapTarget.of(tmp_path, None)
    whole = OverlapJob.prepare(tmp_path, IONS, target, pattern="kb", quantities=("H0",))
    bare = OverlapJob.prepare(tmp_path, IONS, target, pattern="orbital", quantities=("S",))
    assert len(bare.integrals.pairs) < len(whole.integrals.pairs)
    bare.write(target, ("S",), jobs=1)
    found = OverlapJob.prepare(tmp_path, IONS, target, pattern="auto", quantities=("H0",))
    expected = whole.initial_hamiltonian(Spin.NONE, jobs=1)
    free = found.initial_hamiltonian(Spin.NONE, jobs=1)
    assert np.abs((free - expected).entries).max() < 1e-10
