"""Through four codes and back: nothing may be lost on the way, and what would be is refused.

FHI-aims stores one triangle of each matrix, so the way goes through the Hermitian part. SIESTA's
own matrices are Hermitian to the noise of its integrals only, which is checked here as well.
"""

import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import LossError

WAY = ("openmx", "abacus", "aims", "siesta")
RELATIVE = 1e-10
NOISE = {"hamiltonian": 1e-6, "overlap": 1e-8}
"""Largest |O − O†| of the bundled SIESTA runs, eV and 1."""


@pytest.fixture(params=["siesta/graphene", "siesta/h2o", "siesta/o2"])
def calc(request, bundled):
    """H and S of a bundled run, made exactly Hermitian."""
    found = dock.read(bundled / request.param)
    matrices = {}
    for name, noise in NOISE.items():
        matrix = found.require(name)
        assert matrix.hermiticity_error() < noise
        matrices[name] = matrix.hermitian_part()
    return found.replace(matrices=matrices)


def through(calc, way, folder):
    """Write and read a calculation in one format after another."""
    for step, name in enumerate(way):
        dock.write(calc, folder / f"{step}-{name}", name, WriteOptions(quantities=tuple(NOISE)))
        calc = dock.read(folder / f"{step}-{name}", name)
    return calc


def unwrapped(calc: Calculation, name: str, like: Calculation) -> dock.AOMatrix:
    """Return a matrix with the atoms where another calculation has them.

    ABACUS puts every atom into the home cell; an atom moved by the lattice vector n_i turns the
    pair (R, i, j) into (R + n_i − n_j, i, j).
    """
    matrix = calc.require(name)
    moved = like.structure.fractional - calc.structure.fractional
    cells = np.rint(moved).astype(int)
    np.testing.assert_allclose(moved, cells, rtol=0, atol=1e-8)
    pairs = matrix.pairs
    R = pairs.R + cells[pairs.i] - cells[pairs.j]
    pairs = dock.Pairs(R, pairs.i, pairs.j, pairs.n_atoms)
    return dock.AOMatrix(name, like.structure, like.basis, pairs, matrix.spin, matrix.entries)


def assert_same(mine: Calculation, theirs: Calculation, tolerance: float = RELATIVE) -> None:
    """Compare structure, basis, spin and matrices, entry by entry on the union of the pairs."""
    assert theirs.spin is mine.spin
    assert theirs.structure.symbols == mine.structure.symbols
    np.testing.assert_allclose(theirs.structure.cell, mine.structure.cell, rtol=0, atol=1e-9)
    for atom, label in enumerate(mine.basis.labels):
        assert theirs.basis.ls(theirs.basis.labels[atom]) == mine.basis.ls(label)
    for name in NOISE:
        one, two = mine.require(name).aligned(unwrapped(theirs, name, mine))
        two = two.on_pairs(one.pairs)
        scale = float(np.abs(one.entries).max())
        np.testing.assert_allclose(two.entries, one.entries, rtol=0, atol=tolerance * scale)


def test_there_and_back(calc, tmp_path):
    back = through(calc, WAY, tmp_path)
    assert_same(calc, back)
    assert back.n_electrons == pytest.approx(calc.n_electrons, abs=1e-8)
    if calc.fermi_level is not None and back.fermi_level is not None:
        assert back.fermi_level == pytest.approx(calc.fermi_level, abs=1e-6)


@pytest.mark.parametrize("code", ["deeph", "openmx", "abacus", "aims", "siesta", "deeph-legacy"])
def test_each_code_alone(calc, tmp_path, code):
    assert_same(calc, through(calc, (code,), tmp_path), 1e-12)


def test_one_triangle_is_the_hermitian_part(bundled, tmp_path):
    """What FHI-aims cannot hold of a matrix is its anti-Hermitian noise, nothing else."""
    raw = dock.read(bundled / "siesta" / "graphene")
    hermitian = {name: raw.require(name).hermitian_part() for name in NOISE}
    raw = raw.replace(matrices={name: raw.require(name) for name in NOISE})
    assert_same(raw.replace(matrices=hermitian), through(raw, ("aims",), tmp_path), 1e-12)


def test_the_unified_folder_on_the_way_changes_nothing(bundled, tmp_path):
    """The same way on the command line, with the unified folder before and after."""
    samples_in = bundled / "siesta" / "o2"
    way = ("deeph", "openmx", "deeph", "siesta", "deeph")
    before, found = samples_in, []
    for step, name in enumerate(way):
        after = tmp_path / f"{step}-{name}"
        answer = samples.cli(
            "convert", before, "--to", name, "-o", after, "--matrices", "H,S,DM", "-q"
        )
        assert answer.code == 0, answer
        if name == "deeph":
            found.append(dock.read(after))
        before = after
    for other in found[1:]:
        assert_same(found[0], other)
        one, two = found[0].density_matrix.aligned(other.density_matrix)
        scale = np.abs(one.entries).max()
        np.testing.assert_allclose(
            two.on_pairs(one.pairs).entries, one.entries, rtol=0, atol=RELATIVE * scale
        )


@pytest.mark.parametrize(
    ("system", "target", "matrices", "words"),
    [
        ("openmx/o2-nc-soc", "aims", "H,S", "noncollinear"),
        ("openmx/h2o", "aims", "", "density"),
        ("openmx/h2o", "abacus", "", "gradient"),
        ("siesta/h2o", "openmx", "", "energy_density"),
    ],
)
def test_refused_before_a_file_is_opened(bundled, tmp_path, system, target, matrices, words):
    run, out = bundled / system, tmp_path / "out"
    chosen = ["--matrices", matrices] if matrices else []
    answer = samples.cli("convert", run, "--to", target, "-o", out, "-q", *chosen)
    samples.refused(answer, target, words)
    assert not out.exists()


@pytest.mark.parametrize("system", ["openmx/h2o", "openmx/o2-spin", "openmx/o2-nc-soc"])
@pytest.mark.parametrize("target", ["deeph", "openmx", "abacus", "siesta", "aims", "deeph-legacy"])
def test_refused_or_lossless(bundled, tmp_path, system, target):
    """What is written without a word of protest is all there when it is read."""
    run = bundled / system
    answer = samples.cli("convert", run, "--to", target, "-o", tmp_path / "out", "-q")
    if answer.code:
        samples.refused(answer, target)
        assert not (tmp_path / "out").exists()
        return
    calc, kept = dock.read(run), dock.read(tmp_path / "out", target)
    assert set(kept.available) >= set(calc.available)
    assert_same(calc, kept)


def test_two_bases_of_one_element_are_refused_where_there_is_one_name(bundled, tmp_path):
    calc = dock.read(bundled / "siesta" / "graphene")
    labels = ["C1", "C2"]
    shells = {"C1": calc.basis.ls("C"), "C2": calc.basis.ls("C")[:3]}
    structure = calc.structure.relabel(labels)
    basis = dock.Basis.from_ls(shells, labels)
    pairs = calc.overlap.pairs
    layout_size = int((basis.counts[pairs.i] * basis.counts[pairs.j]).sum())
    parts = (structure, basis, pairs, Spin.NONE, np.zeros((1, layout_size)))
    matrices = {name: dock.AOMatrix(name, *parts) for name in NOISE}
    odd = Calculation(structure, basis, Spin.NONE, matrices, 0.0, 8.0)
    with pytest.raises(LossError, match="two bases"):
        dock.write(odd, tmp_path / "deeph")
    assert not (tmp_path / "deeph").exists()
    for target in ("siesta", "abacus", "aims", "openmx", "deeph-legacy"):
        options = WriteOptions(quantities=tuple(NOISE))
        dock.write(odd, tmp_path / target, target, options)
        kept = dock.read(tmp_path / target, target)
        assert [kept.basis.ls(label) for label in kept.basis.labels] == [
            shells["C1"],
            shells["C2"],
        ]
