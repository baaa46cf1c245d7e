"""Predictions of any model behind the protocol: what is read, how often, and what is written."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from datasets import calculation, count_reads, molecule

import dock
from dock import overlap_folder as overlaps
from dock.converters.deeph import folder as unified
from dock.converters.deeph.blockfile import read_attributes, write_matrix
from dock.converters.deeph.pattern import read_pairs
from dock.core.spin import Spin
from dock.errors import FAULT, UsageError
from dock.io.progress import Progress
from dock.models import Model, predict as module
from dock.models.backend import Scope
from dock.models.data.inspection import Inspection
from dock.models.data.samples import Sample
from dock.models.graph import build_graph
from dock.models.predict import PredictionJob, find_targets, predict
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)


class Zero:
    """A model in nobody's file: one level for all orbitals, and moments on the diagonal."""

    def __init__(self, layout=LAYOUT, **facts):
        self.scope = Scope(layout, **facts)

    def predict(self, structure, overlap, moments=None):
        layout = self.scope.layout
        graph = build_graph(structure, overlap.basis, overlap.pairs, layout.species)
        side = (layout.n_channels, layout.n_common, layout.n_common)
        node = np.zeros((graph.n_atoms, *side))
        if moments is None:  # an H of zeros would be taken for one that nobody had
            node[:, 0] += 1e-3 * np.eye(layout.n_common)
        else:
            node += np.asarray(moments)[:, 2, None, None, None] * np.eye(layout.n_common)
        return layout.matrix(node, np.zeros((graph.n_edges, *side)), graph)

    def describe(self):
        return {"backend": "zero"}


@pytest.fixture
def reads(monkeypatch):
    """How often each file of a structure is read."""
    return count_reads(
        monkeypatch,
        (unified, ("read_poscar", "read_info", "read_matrix")),
        (module, ("read_info", "read_pairs")),
        (overlaps, ("read_structure", "read_basis_folder")),
    )


@pytest.fixture
def source(tmp_path, rng):
    """A unified folder with an overlap alone."""
    calc = calculation(molecule(rng, 3))
    bare = dock.Calculation(calc.structure, calc.basis, Spin.NONE, {"overlap": calc.overlap})
    dock.write(bare, tmp_path / "source")
    return tmp_path / "source"


def done(report):
    assert [outcome.status for outcome in report.outcomes] == ["done"], report
    return report.outcomes[0]


def test_it_is_a_model():
    assert isinstance(Zero(), Model)


def test_a_folder_is_read_once(source, tmp_path, reads):
    done(predict([Zero()], find_targets([source], tmp_path / "out")))
    names = ("POSCAR", "info.json", "overlap.h5")
    assert reads == {str(source / name): 1 for name in names}
    made = dock.read(tmp_path / "out")
    assert len(made.hamiltonian.pairs) == len(dock.read(source).overlap.pairs)
    assert set(np.unique(made.hamiltonian.entries)) == {0, 1e-3}  # what the model says


@pytest.mark.parametrize("elsewhere", [True, False])
def test_all_matrices_of_the_folder_have_one_order_of_pairs(source, tmp_path, rng, elsewhere):
    """Also with pairs that the overlap lacks: it gets zeros there, unless it is the user's own."""
    path = source / "overlap.h5"
    whole = dock.read(source).overlap
    order = rng.permutation(len(whole.pairs))
    ends = np.flatnonzero((whole.pairs.i == 0) & (whole.pairs.j == 2))
    ends = np.append(ends, np.flatnonzero((whole.pairs.i == 2) & (whole.pairs.j == 0)))
    order = order[~np.isin(order, ends)]
    write_matrix(path, whole.take_pairs(order), read_attributes(path), overwrite=True)
    before = path.read_bytes()
    given = read_pairs(path, 3)
    out = tmp_path / "out" if elsewhere else None
    done(predict([Zero()], find_targets([source], out)))
    folder = out or source
    assert read_pairs(folder / "hamiltonian_pred.h5", 3).is_same(given)
    longest = np.full(4, 20.0)
    job = PredictionJob(overwrite=True)
    done(predict([Zero(longest=longest, cutoffs=np.zeros(4))], find_targets([source], out), job))
    made = read_pairs(folder / "hamiltonian_pred.h5", 3)
    assert len(made) > len(given)
    assert made.take(np.arange(len(given))).is_same(given)
    assert path.read_bytes() == before
    notes = json.loads((folder / "prediction.json").read_text())["notes"]
    if elsewhere:
        assert read_pairs(folder / "overlap.h5", 3).is_same(made)
        found, own = dock.read(folder).overlap, dock.read(source).overlap
        np.testing.assert_array_equal(found.entries[:, : own.entries.shape[1]], own.entries)
        assert not found.entries[:, own.entries.shape[1] :].any()
    assert any("the DeepH programs want the same pairs" in note for note in notes) != elsewhere


def test_what_another_process_predicted_meanwhile_is_done(source, monkeypatch):
    write = module.write_matrix

    def slower(*arguments, **options):
        write(*arguments, **options)
        return write(*arguments, **options)  # the first is that of the other process

    monkeypatch.setattr(module, "write_matrix", slower)
    (one,) = predict([Zero(fingerprint="a")], find_targets([source])).outcomes
    assert one.status == "skipped"
    (other,) = predict([Zero(fingerprint="b")], find_targets([source])).outcomes
    assert (other.status, other.exit_code) == ("failed", 2)


def test_a_fault_in_one_structure_stops_no_other(source, tmp_path):
    class Faulty(Zero):
        def predict(self, structure, overlap, moments=None):
            if not done_before:
                done_before.append(structure)
                raise ZeroDivisionError("division by zero")
            return super().predict(structure, overlap, moments)

    done_before = []
    shutil.copytree(source, tmp_path / "second")
    report = predict([Faulty()], find_targets([source, tmp_path / "second"]))
    assert [outcome.status for outcome in report.outcomes] == ["failed", "done"]
    assert report.outcomes[0].exit_code == FAULT
    assert "ZeroDivisionError" in report.outcomes[0].reason


@pytest.mark.parametrize("n_targets", [1, 2])
def test_progress_is_that_of_structures_or_of_the_parts_of_one(source, tmp_path, n_targets):
    class InParts(Zero):
        def predict(self, structure, overlap, moments=None, progress=None):
            for _ in Progress.of(progress).each("abc"):
                pass
            return super().predict(structure, overlap, moments)

    said = []
    shutil.copytree(source, tmp_path / "second")
    targets = find_targets([source, tmp_path / "second"])[:n_targets]
    report = predict([InParts()], targets, progress=lambda *step: said.append(step[:2]))
    assert {outcome.status for outcome in report.outcomes} == {"done"}
    assert said[-1] == {1: (3, 3), 2: (2, 2)}[n_targets]


def test_moments_are_given_to_models_that_take_them(source):
    (source / "moments.json").write_text(json.dumps([[0, 0, 1], [0, 0, 2], [0, 0, 3]]))
    done(predict([Zero(takes_moments=True)], find_targets([source])))
    onsite = [dock.read(source).hamiltonian.block([0, 0, 0], i, i)[0, 0] for i in range(3)]
    assert onsite == [1, 2, 3]


def test_without_a_fingerprint_nothing_is_skipped(source):
    done(predict([Zero()], find_targets([source])))
    (again,) = predict([Zero()], find_targets([source])).outcomes
    assert again.status == "failed"
    assert "overwrite=True" in again.reason
    done(predict([Zero()], find_targets([source]), PredictionJob(overwrite=True)))
    known = [Zero(fingerprint="abc")]
    done(predict(known, find_targets([source]), PredictionJob(overwrite=True)))
    assert predict(known, find_targets([source])).outcomes[0].status == "skipped"


def test_an_overlap_that_is_written_for_both_spins(source, tmp_path):
    """1₂⊗S, as other programs prepare predictions with spin–orbit coupling."""
    calc = dock.read(source)
    spinful = dock.Calculation(
        calc.structure, calc.basis, Spin.NONCOLLINEAR, {"overlap": calc.overlap}
    )
    dock.write(spinful, tmp_path / "both", settings={"layout": "expanded"})
    model = Zero(TargetLayout(LAYOUT.species, LAYOUT.ls, Spin.NONCOLLINEAR))
    for place in ("out", "both"):
        done(predict([model], find_targets([tmp_path / "both"], tmp_path / place)))
        made = dock.read(tmp_path / place)
        assert made.spin is Spin.NONCOLLINEAR
        assert np.array_equal(made.overlap.entries, calc.overlap.entries)
        assert not made.hamiltonian.pairs.difference(calc.overlap.pairs)
    (outcome,) = predict([Zero()], find_targets([tmp_path / "both"], tmp_path / "no")).outcomes
    assert "both spins" in outcome.reason
    assert not (tmp_path / "no").exists()


def test_an_ensemble_must_agree():
    other = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.COLLINEAR)
    with pytest.raises(UsageError, match="spin is none in the first and collinear in another"):
        predict([Zero(), Zero(other)], [])


class TestComputedOverlap:
    """Graphene and its basis files with projectors, from SIESTA."""

    @pytest.fixture
    def place(self, tmp_path, bundled):
        calc = dock.read(bundled / "siesta" / "graphene")
        (tmp_path / "new").mkdir()
        dock.write(
            dock.Calculation(calc.structure, calc.basis, Spin.NONE, {"overlap": calc.overlap}),
            tmp_path / "whole",
        )
        shutil.copy(tmp_path / "whole" / "POSCAR", tmp_path / "new")
        return tmp_path / "new", calc

    @pytest.mark.parametrize("longest", [0.0, 20.0], ids=["orbitals", "projectors"])
    def test_once(self, place, bundled, tmp_path, reads, monkeypatch, longest):
        """Structure and basis are read once, even where the pairs are found in two ways."""
        folder, calc = place
        basis, out = bundled / "siesta" / "graphene", tmp_path / "out"
        plain, wider = overlaps.OverlapJob.through_projectors, []
        monkeypatch.setattr(
            overlaps.OverlapJob, "through_projectors", lambda job: wider.append(job) or plain(job)
        )
        layout = TargetLayout.from_bases([calc.basis], Spin.COLLINEAR)
        model = Zero(layout, longest=np.array([longest]), cutoffs=np.array([longest]))
        done(predict([model], find_targets([folder], out), PredictionJob(basis=basis)))
        assert reads == {str(x): 1 for x in (folder / "POSCAR", basis, out / "info.json")}
        assert len(wider) == (longest > 0)
        made = dock.read(out)
        assert len(made.overlap.pairs) == len(calc.overlap.pairs)
        assert made.spin is Spin.COLLINEAR  # though the overlap alone has none
        assert len(made.hamiltonian.entries) == 2


def test_electrons_of_the_model_where_nobody_else_says_them(source, tmp_path):
    """A prediction's Fermi level needs them; those of the run or of the basis come first."""
    said = {"C": 4.0, "H": 1.0}
    structure = dock.read(source).structure
    wanted = sum(said[label] for label in structure.labels)
    done(predict([Zero(electrons=said)], find_targets([source], tmp_path / "a")))
    assert dock.read(tmp_path / "a").n_electrons == wanted
    done(predict([Zero(electrons={"C": 4.0})], find_targets([source], tmp_path / "b")))
    assert dock.read(tmp_path / "b").n_electrons == (
        wanted if "H" not in structure.labels else None
    )
    info = json.loads((source / "info.json").read_text())
    (source / "info.json").write_text(json.dumps(info | {"occupation": 3}))
    done(predict([Zero(electrons=said)], find_targets([source], tmp_path / "c")))
    assert dock.read(tmp_path / "c").n_electrons == 3


@pytest.mark.parametrize(
    ("sizes", "charge", "found"),
    [((3, 2, 3, 4), 0, {"C": 4.0, "H": 1.0}), ((3, 2, 3, 4), 1, {}), ((), 0, {})],
)
def test_electrons_that_a_data_set_tells(tmp_path, rng, sizes, charge, found):
    samples = []
    for number, size in enumerate(sizes):
        labels = ["C", *["H"] * (size - 1)]
        calc = calculation(molecule(rng, size, labels=labels)).replace(
            n_electrons=4.0 + size - 1 - charge * number
        )
        dock.write(calc, tmp_path / str(number))
        samples.append(Sample(str(number), tmp_path / str(number)))
    assert Inspection(samples, "hamiltonian", deep=False).electrons() == found
