"""What ABACUS documents for its input, and what older builds write: rebuilt from a bundled run."""

import gzip
import re
import shutil

import numpy as np
import pytest
import samples

from dock.converters import abacus
from dock.converters.abacus.stru import read_stru
from dock.converters.structure_files import read_structure
from dock.errors import FormatError, MissingDataError


@pytest.fixture
def run(bundled, tmp_path):
    return shutil.copytree(bundled / "abacus" / "graphene", tmp_path / "graphene")


@pytest.fixture
def reference(bundled):
    return abacus.read(bundled / "abacus" / "graphene")


def edit(file, pattern, new):
    text, count = re.subn(pattern, new, file.read_text(), flags=re.MULTILINE)
    assert count, pattern
    file.write_text(text)


@pytest.mark.parametrize("axes", ["xy", "xz", "yz", "xyz"])
def test_positions_about_a_centre(run, reference, axes):
    """Cartesian_angstrom_center_xy: Å, from the middle of the first two lattice vectors."""
    stru = read_stru(run / "STRU")
    cell = stru.lattice()
    centre = 0.5 * cell[["xyz".index(axis) for axis in axes]].sum(axis=0)
    lines = (run / "STRU").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("ATOMIC_POSITIONS"))
    kind = next(n for n in range(at + 1, len(lines)) if lines[n].strip())
    lines[kind] = f"Cartesian_angstrom_center_{axes}"
    points = iter(stru.fractional(cell) @ cell - centre)
    for n in range(kind + 1, len(lines)):
        if len(lines[n].split()) >= 6:
            lines[n] = " ".join(f"{x:.12f}" for x in next(points)) + " 0 0 0"
    (run / "STRU").write_text("\n".join(lines) + "\n")
    calc = abacus.read(run)
    np.testing.assert_allclose(
        calc.structure.positions, reference.structure.positions, rtol=0, atol=1e-9
    )
    found = read_structure(run / "STRU").structure.positions
    np.testing.assert_allclose(found, stru.fractional(cell) @ cell, rtol=0, atol=1e-9)


def test_element_of_a_label_that_says_another(run, reference, tmp_path):
    """A carbon called Ca: mass and pseudopotential are carbon's."""
    for file in (run / "STRU", run / "OUT.ABACUS" / "running_scf.log"):
        edit(file, r"\bC\b(?=\s|[0-9])", "Ca")
    calc = abacus.read(run)
    assert (calc.structure.symbols, calc.structure.labels) == (("C", "C"), ("Ca", "Ca"))
    assert any("taken for C, not Ca" in note for note in calc.provenance.extra["notes"])
    assert read_structure(run / "STRU").structure.symbols == ("C", "C")
    edit(run / "STRU", r"12\.011", "40.078")  # then only the file name says carbon
    assert abacus.read(run).structure.symbols == ("Ca", "Ca")
    samples.same_matrices(reference, calc)


def test_log_without_coordinates(run, reference):
    log = run / "OUT.ABACUS" / "running_scf.log"
    edit(log, r"^DIRECT COORDINATES\n(.*\n)*?\s*\n", "\n")
    calc = abacus.read(run)
    assert calc.structure.is_close(reference.structure, 1e-9)
    assert calc.fermi_level == reference.fermi_level
    assert any("those of STRU are taken" in note for note in calc.provenance.extra["notes"])
    (run / "STRU").unlink()
    with pytest.raises(MissingDataError, match="STRU"):
        abacus.read(run)
    edit(log, r"TIME STATISTICS", "")  # cut: what else it lacks is not known
    with pytest.raises(FormatError, match="coordinates are missing"):
        abacus.read(run)


@pytest.mark.parametrize("with_log", [True, False])
def test_matrices_without_the_number_of_a_step(run, reference, with_log):
    """ABACUS 2 begins with the dimension; so do runs of several k-points of later builds."""
    out = run / "OUT.ABACUS"
    for file in out.glob("*.csr.gz"):
        text = gzip.decompress(file.read_bytes())
        assert text.startswith(b"STEP: 0\n")
        file.with_suffix("").write_bytes(text.partition(b"\n")[2])
        file.unlink()
    if not with_log:
        (out / "running_scf.log").unlink()
    calc = abacus.read(run)
    samples.same_matrices(reference, calc)
    (out / "data-SR-sparse_SPIN0.csr").rename(out / "SR.csr")
    for name in ("HR", "DMR"):
        (out / f"data-{name}-sparse_SPIN0.csr").unlink()
    alone = abacus.read(run, settings={"log": "no"}).require("S")
    S = reference.require("S")
    mine, theirs = S.aligned(alone)
    assert np.array_equal(mine.entries, theirs.entries)


def test_text_and_binary_of_one_matrix(run, reference):
    np.savez(run / "OUT.ABACUS" / "hrs1_nao.npz", lat_vec=np.zeros((3, 3)))
    calc = abacus.read(run)
    assert "not hrs1_nao.npz" in calc.provenance.extra["notes"][-1]
    samples.same_matrices(reference, calc)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["A16_v2", "A30_label_Ca", "A4_center_xyz", "C3_nocoord"])
def test_cases(shared, name):
    calc = abacus.read(shared / "cases" / "K4-abacus-inputs" / name)
    truth = abacus.read(shared / "fixtures" / "abacus" / "graphene")
    assert calc.structure.symbols == ("C", "C")
    assert calc.structure.is_close(truth.structure, 1e-6)
    for quantity in ("hamiltonian", "overlap"):
        mine, theirs = calc.require(quantity).aligned(truth.require(quantity))
        assert np.abs(mine.entries - theirs.entries).max() < 1e-6


@pytest.mark.shared
@pytest.mark.parametrize("name", ["R_out_hs2_multik", "R_out_s_multik"])
def test_cases_of_several_k(shared, name):
    calc = abacus.read(shared / "cases" / "K4-abacus-inputs" / name)
    assert calc.require("S").hermiticity_error() < 1e-6
    assert calc.structure.formula == "Si2"
