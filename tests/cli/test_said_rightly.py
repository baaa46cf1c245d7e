"""What commands said wrongly, one kind a test."""

import json
import shutil

import numpy as np
import pytest
import samples

import dock
from dock.cli.runner import Bar
from dock.converters.inspection import compare_runs
from dock.core.compare import compare
from dock.errors import LayoutError, MissingDataError
from dock.io.progress import Progress
from dock.models.predict import find_targets
from dock.states.kmesh import KMesh


@pytest.fixture
def si(bundled, tmp_path):
    return shutil.copytree(bundled / "unified/si", tmp_path / "si", copy_function=shutil.copyfile)


def test_another_matrix_is_not_taken_for_h(si):
    """`dock bands si/overlap.h5` took hamiltonian.h5, which nobody named."""
    for name in ("overlap.h5", "density_matrix.h5"):
        refused = samples.cli("bands", si / name, "--path", "GX")
        assert refused.code == 2
        assert "the hamiltonian is missing" in refused.err.lower()
        assert "hamiltonian" not in dock.read(si / name).available
    assert samples.cli("bands", si / "hamiltonian.h5", "--path", "GX", "--points", 2).code == 0
    assert "hamiltonian" in dock.read(si).available


def test_every_k_point_that_is_given_is_taken(si):
    several = ("--k", 0, 0, 0, "--k", 0.5, 0, 0, "--bands", "1-2")
    answer = samples.cli("wavefunction", si, *several, "-o", si / "w.h5", "--json")
    assert answer.code == 0, answer
    assert json.loads(answer.out)["n_kpoints"] == 2
    both = samples.cli("wavefunction", si, "--k", 0, 0, 0, "--mesh", 2, 2, 2)
    samples.refused(both, "not both")


def test_densities_are_compared_where_both_have_a_block(bundled):
    density = dock.read(bundled / "unified/si").require("DM")
    norms = density.layout.block_norm(density.entries)
    fewer = density.take_pairs(np.flatnonzero(norms > np.median(norms)))
    found = compare(density, fewer)
    assert found.largest == 0
    assert found.pairs.endswith("only the common pairs are compared")
    overlap = dock.read(bundled / "unified/si").require("S")
    assert compare(overlap, overlap.take_pairs(np.arange(4))).largest > 0
    none = density.take_pairs(np.array([0]))
    with pytest.raises(LayoutError, match="no pair of atoms in common"):
        compare(none, density.take_pairs(np.array([5])))
    calc = dock.read(bundled / "unified/si")
    assert compare_runs(calc, calc).differences[0].largest == 0


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        ((-6.99998, 0.0, 0.0), "15×1×1, "),
        ((-6.5, 0.0, 0.0), "shifted by (-0.5, 0, 0) steps"),
        ((0.5, 0.0, 0.25), "shifted by (0.5, 0, 0.25) steps"),
        ((0.0, 0.0, 0.0), "15×1×1, "),
    ],
)
def test_whole_steps_are_no_shift(shift, words):
    text = KMesh.full((15, 1, 1), shift).describe()
    assert words in text
    assert ("shifted" in words) == ("shifted" in text)


def test_what_was_done_before_tells_nothing_of_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dock.cli.runner.time.monotonic", lambda: now[0])
    bar = Bar("runs", quiet=False)
    bar.counted = Progress(bar)
    bar.counted.start(100)
    for _ in range(90):
        bar.counted.skip()
    assert bar._rest(90, 100) == "done before"
    now[0] = 30.0
    bar.counted.advance()
    assert bar._rest(91, 100) == "about 270 s left"
    part = bar.counted.part()
    part.skip()
    assert bar.counted.skipped == 91


def test_one_cell_is_one():
    from dock.post.unfold import _cells

    assert (_cells(1), _cells(3)) == ("1 cell", "3 cells")


def test_the_width_says_what_it_is():
    assert "√2 σ" in samples.cli("dos", "--help").out


def test_a_run_is_a_structure_to_predict(bundled, tmp_path):
    run = bundled / "siesta" / "mg"
    (target,) = find_targets([run], tmp_path / "out")
    assert (target.source, target.folder) == (run, tmp_path / "out")
    shutil.copytree(run, tmp_path / "mg", copy_function=shutil.copyfile)
    (tmp_path / "mg" / "el_032.TSHS").unlink()
    assert find_targets([tmp_path / "mg"])[0].source == tmp_path / "mg"
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError):
        find_targets([tmp_path / "empty"])
