"""Bundled CP2K runs: eigenvalues, electrons and overlaps against CP2K's own numbers."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import samples
from scipy.linalg import eigh

import dock
from dock.converters.cp2k import read
from dock.converters.cp2k.check import check_run
from dock.converters.cp2k.images import counted_from_positions, folded_shift
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.units import CP2K

NAMES = ("h2o", "o2", "oh", "si2")


@pytest.mark.parametrize("name", NAMES)
def test_levels_electrons_and_overlap_are_those_of_cp2k(runs, reference, validation, name):
    """Eigenvalues of the unified folder, Tr(ρS) of each spin, S from the basis set."""
    calc, told = read(runs / name), reference[name]
    assert calc.n_electrons == sum(told["electrons"])
    assert calc.spin is (Spin.COLLINEAR if len(told["electrons"]) == 2 else Spin.NONE)
    assert sum(len(one["hartree"]) for one in told["levels"]) >= len(told["levels"]) * 4
    for system, quantity, deviation, limit in validation.rows_of(name, runs / name, told):
        assert deviation <= limit, (system, quantity)


def test_compute_overlap_from_the_file_of_basis_sets(runs, tmp_path):
    run = runs / "si2"
    dock.write(read(run), tmp_path / "si2")
    options = ("--basis", run / "BASIS_TEST", "--species", "Si=DOCK-SZ", "-o", tmp_path / "s")
    answer = samples.cli("compute-overlap", tmp_path / "si2" / "POSCAR", *options)
    assert answer.code == 0, answer
    mine = dock.read(tmp_path / "s").overlap
    theirs = dock.read(tmp_path / "si2").overlap
    pairs = mine.pairs.union(theirs.pairs)
    apart = np.abs(mine.on_pairs(pairs).entries - theirs.on_pairs(pairs).entries).max()
    assert apart < 1e-6
    samples.refused(
        samples.cli("compute-overlap", tmp_path / "si2" / "POSCAR", *options[:2]), "Si="
    )


def test_text_of_ao_matrices_is_the_csr_file(copy, runs):
    folder, exact = copy("h2o"), read(runs / "h2o")
    for file in folder.glob("*.csr"):
        file.unlink()
    text = read(folder)
    assert text.available == exact.available
    for name in text.available:
        one, two = text.require(name), exact.require(name)
        np.testing.assert_allclose(one.entries, two.entries, rtol=0, atol=1e-11)


def test_upper_triangle_and_binary_files_hold_the_same(copy, edit):
    """Files of a run with the whole matrix, written anew as CP2K writes the other kinds."""
    folder = copy("si2")
    exact = read(folder)
    kept = {name: exact.require(name).entries.copy() for name in ("hamiltonian", "overlap")}
    for file in folder.glob("si2-KS*.csr"):
        _upper(file, binary=True)
    for file in folder.glob("si2-S_*.csr"):
        table = np.loadtxt(file)
        _write_binary(file, table)
    edit(folder / "si2.inp", "&KS_CSR_WRITE ON", "&KS_CSR_WRITE ON\n UPPER_TRIANGULAR .TRUE.")
    calc = read(folder)
    for name, entries in kept.items():
        # the two triangles differ in the last digit
        np.testing.assert_allclose(calc.require(name).entries, entries, rtol=0, atol=1e-15)


def _binary(path):
    fields = [("a", "<i4"), ("row", "<i4"), ("col", "<i4"), ("value", "<f8"), ("b", "<i4")]
    table = np.frombuffer(path.read_bytes(), np.dtype(fields))
    return np.column_stack([table["row"], table["col"], table["value"]])


def _write_binary(path, table):
    records = [("a", "<i4"), ("row", "<i4"), ("col", "<i4"), ("value", "<f8"), ("b", "<i4")]
    out = np.zeros(len(table), np.dtype(records))
    out["a"] = out["b"] = 16
    out["row"], out["col"], out["value"] = table.T
    path.write_bytes(out.tobytes())


def _upper(path, *, binary):
    table = _binary(path)
    table = table[table[:, 0] <= table[:, 1]]
    if binary:
        _write_binary(path, table)


def test_atoms_are_counted_into_the_cell_around_the_origin(runs):
    calc = read(runs / "si2")
    structure, overlap = calc.structure, calc.overlap
    np.testing.assert_allclose(structure.fractional[1], [1.25, 0.25, -0.75], atol=1e-12)
    apart = structure.positions[1] - structure.positions[0] + overlap.pairs.R @ structure.cell
    chosen = (overlap.pairs.i == 0) & (overlap.pairs.j == 1)
    length = np.linalg.norm(apart[chosen], axis=1)
    size = overlap.layout.block_max(overlap.entries)[chosen]
    assert np.argsort(-size)[:4].tolist() == np.argsort(length)[:4].tolist()


@pytest.mark.parametrize("side", [0.5, -0.5])
@pytest.mark.parametrize("where", [(0,), (1,), (0, 1, 2)])
def test_atoms_at_half_a_cell_are_told_by_the_overlap(runs, side, where):
    """Move all atoms so that the second stands at ½, and count it into either cell."""
    calc = read(runs / "si2")
    structure, overlap = calc.structure, calc.overlap
    wanted = np.array([0.1, 0.2, 0.3])
    wanted[list(where)] = side
    moved = structure.positions + (wanted - structure.fractional[1]) @ structure.cell
    structure = replace(structure, positions=moved)
    overlap = replace(overlap, structure=structure)
    for up in (0, 1):
        shift = np.rint(structure.fractional).astype(np.int64)
        shift[1, list(where)] = int(np.floor(side)) + up
        pairs = counted_from_positions(overlap.pairs, -shift)
        found = folded_shift(structure, lambda pairs=pairs: replace(overlap, pairs=pairs))
        np.testing.assert_array_equal(found - found[0], shift - shift[0])


def test_conversion_says_what_the_run_is(runs, tmp_path):
    answer = samples.cli("convert", runs / "si2", "-o", tmp_path / "si2")
    assert answer.code == 0, answer
    assert "cp2k" in answer.err
    info = dock.read(tmp_path / "si2").provenance
    assert (info.code, info.version) == ("CP2K", "2023.1")
    assert info.extra["basis_sets"] == {"Si": "DOCK-SZ"}
    named = samples.cli("convert", runs / "oh", "--from", "cp2k", "-o", tmp_path / "oh")
    assert named.code == 0, named
    for path in (runs / "h2o" / "h2o.out", runs / "h2o" / "h2o.inp"):
        assert dock.read(path).structure.formula == "OH2"


def test_check_compares_with_log_and_basis(runs):
    for name in NAMES:
        found = {finding.what: finding.level for finding in check_run(runs / name)}
        assert found == {"scf": "ok", "levels": "ok", "basis": "ok"}, name


def test_check_sees_the_hamiltonian_of_another_run(copy):
    folder = copy("o2")
    up, down = sorted(folder.glob("o2-KS*.csr"))
    shutil.copy(down, up)
    found = {finding.what: finding.level for finding in check_run(folder)}
    assert found["levels"] == "error"


def test_fermi_level_is_in_the_gap_or_left_to_dock(runs):
    h2o, oh = read(runs / "h2o"), read(runs / "oh")
    levels = eigh(
        np.asarray(KBuilder(h2o.hamiltonian).dense([0, 0, 0])),
        np.asarray(KBuilder(h2o.overlap).dense([0, 0, 0])),
        eigvals_only=True,
    )
    assert h2o.fermi_level == pytest.approx((levels[3] + levels[4]) / 2, abs=1e-5)
    assert oh.fermi_level is None
    assert any("highest occupied" in note for note in oh.notes)


@pytest.mark.parametrize(
    "edit_log",
    [
        # MO with COEFFICIENTS has another heading, and tables that are not read as levels
        lambda log: log.replace(
            "EIGENVALUES AND OCCUPATION", "EIGENVALUES, OCCUPATION NUMBERS, AND SPHERICAL"
        ),
        # MO_INDEX_RANGE of empty levels
        lambda log: re.sub(r" MO\|.* 2\.0+\n", "", log),
    ],
)
def test_highest_occupied_level_is_not_taken_for_the_fermi_level(copy, edit_log):
    folder = copy("h2o")
    path = folder / "h2o.out"
    text = path.read_text()
    assert edit_log(text) != text
    path.write_text(edit_log(text))
    calc = read(folder)
    assert calc.fermi_level is None
    assert any("highest occupied" in note for note in calc.notes)


def test_fermi_level_of_smearing_needs_no_printed_levels(copy):
    folder = copy("h2o")
    path = folder / "h2o.out"
    text = re.sub(r" MO\|.*\n", "", path.read_text())
    path.write_text(text + "  Fermi energy:                           -0.25000000000000\n")
    assert read(folder).fermi_level == pytest.approx(-0.25 * CP2K.hartree_ev)


def test_density_on_a_grid_has_the_electrons(runs, tmp_path):
    """The Gaussians of the basis set, normalised and in the order of the density matrix."""
    run = runs / "si2"
    answer = samples.cli(
        "charge-density", run, "--spacing", 0.2, "-o", tmp_path / "rho.h5", "--json"
    )
    assert answer.code == 0, answer
    assert json.loads(answer.out)["n_electrons"] == pytest.approx(8, abs=1e-4)
    dock.write(read(run), tmp_path / "u")
    words = ("charge-density", tmp_path / "u", "--basis", run, "--spacing", 0.2, "--json")
    assert json.loads(samples.cli(*words).out)["n_electrons"] == pytest.approx(8, abs=1e-4)
