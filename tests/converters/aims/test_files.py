"""geometry.in, basis-indices.out, the log, detection; cut files, flipped bytes, mixed runs."""

import contextlib

import numpy as np
import pytest
import samples

import dock.converters.aims as aims
from dock.converters.aims.aims_out import find_log, read_log
from dock.converters.aims.basis_indices import format_basis, read_basis
from dock.converters.aims.geometry_in import format_geometry, read_geometry
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, MissingDataError

GEOMETRY = """# a comment
lattice_vector 4 0 0
lattice_vector 0 5 0   # another
lattice_vector 0 0 6
 atom_frac 0.5 -0.25 1.5 Fe1
  initial_moment 2.0
atom 1.0 2.0 3.0 O
constrain_relaxation .true.
empty 0 0 1 H"""


def test_geometry(tmp_path):
    path = tmp_path / "geometry.in"
    path.write_text(GEOMETRY)  # no line end behind the last line, as FHI-aims' users leave it
    structure = read_geometry(path)
    assert structure.labels == ("Fe1", "O", "H_empty")
    assert structure.numbers.tolist() == [26, 8, 0]
    np.testing.assert_allclose(structure.positions, [[2, -1.25, 9], [1, 2, 3], [0, 0, 1]])
    path.write_text(format_geometry(structure, periodic=True))
    again = read_geometry(path)
    assert again.labels == structure.labels
    np.testing.assert_array_equal(again.positions, structure.positions)
    np.testing.assert_array_equal(again.cell, structure.cell)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("4 0 0", "4 0", "three numbers"),
        ("4 0 0", "4 0 x", "three numbers"),
        ("lattice_vector 0 0 6\n", "", "not 0 or 3 lattice vectors"),
        ("3.0 O", "3.0", "an atom has no species"),
        ("3.0 O", "3.0 7up", "names no element"),
        (GEOMETRY, "", "there are no atoms"),
        (GEOMETRY, "atom_frac 0 0 0 H", "without lattice vectors"),
    ],
)
def test_damaged_geometry(tmp_path, old, new, problem):
    path = tmp_path / "geometry.in"
    path.write_text(GEOMETRY.replace(old, new))
    with pytest.raises(FormatError, match=problem):
        read_geometry(path)


def test_two_shells_of_one_name(tmp_path):
    """Type, n and l may be the same: only the run of m tells the shells apart."""
    rows = [("hydro", 1, 2, 1, m) for m in (-1, 0, 1)] * 2 + [("atomic", 1, 1, 0, 0)]
    lines = ["", "  fn.   type   at.   n   l   m"]
    lines += [
        f"{k + 1:5d} {t:<8s} {a:3d} {n:3d} {l:3d} {m:3d}" for k, (t, a, n, l, m) in enumerate(rows)
    ]
    path = tmp_path / "basis-indices.out"
    path.write_text("\n".join(lines) + "\n")
    basis = read_basis(path, ["C"])
    assert basis.ls("C") == (1, 1, 0)
    assert [shell.label for shell in basis.shells["C"]] == ["hydro 2p", "hydro 2p", "atomic 1s"]


def test_numbers_that_overflow_their_columns(tmp_path):
    """Above 999 atoms and 99,999 functions Fortran prints stars, without a blank between."""
    labels = ["C", "H"] * 600
    basis = Basis.from_ls({"C": [0, 0, 1], "H": [0, 1]}, labels)
    text = format_basis(basis, {"C": [0, 1, 2], "H": [0, 1]})
    assert "***" in text
    path = tmp_path / "basis-indices.out"
    path.write_text(text.replace(" 999 ", " 999 "))
    again = read_basis(path, labels)
    assert again.is_same(basis)
    assert again.n_orbitals == 600 * 9
    with pytest.raises(FormatError, match="cannot be continued"):
        read_basis(path, [*labels[:-1], "He"])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  fn.   type", "  no.   type", "title line is missing"),
        ("    2 atomic     1", "    2 atomic     x", "a line is damaged"),
        ("   1   0   0\n", "   1   0   0 7\n", "longer than the table"),
        ("   1  -1\n", "   1   0\n", "do not form shells"),
        ("   1   0   0\n", "   1   1   0\n", "do not form shells"),
        ("atomic     3", "atomic     4", "not those of geometry.in"),
    ],
)
def test_damaged_basis(tmp_path, old, new, problem):
    basis = Basis.from_ls({"C": [0, 0, 1], "H": [0, 1]}, ["C", "H", "H"])
    text = format_basis(basis, {"C": [0, 1, 2], "H": [0, 1]})
    assert old in text
    path = tmp_path / "basis-indices.out"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FormatError, match=problem):
        read_basis(path, ["C", "H", "H"])


def test_atoms_of_one_species_with_different_shells(tmp_path):
    basis = Basis.from_ls({"C": [0, 0, 1], "H": [0, 1]}, ["C", "H", "H"])
    path = tmp_path / "basis-indices.out"
    path.write_text(format_basis(basis, {"C": [0, 1, 2], "H": [0, 1]}))
    with pytest.raises(FormatError, match="two atoms of species H have different shells"):
        read_basis(path, ["H", "H", "H"])


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("  | Chemical potential (Fermi level):    -5.88 eV", -5.88),
        ("  | Chemical potential (Fermi level) in eV      :  -.53575976E+01", -5.3575976),
        ("  | Chemical Potential    :  -4.2187 eV", -4.2187),
    ],
)
def test_log(tmp_path, line, level):
    (tmp_path / "run.out").write_text(
        "  Invoking FHI-aims ...\n  FHI-aims version      : 240920.1\n"
        "  | Formal number of electrons (from input files) :       28.0000000\n"
        "  | Chemical potential (Fermi level):    99.0 eV\n"
        f"{line}\n  Self-consistency cycle converged.\n"
    )
    (tmp_path / "hamiltonian.out").write_text("1 1 0.5\n")
    log = read_log(find_log(tmp_path))
    assert (log.version, log.n_electrons, log.converged) == ("240920.1", 28.0, True)
    assert abs(log.fermi_level - level) < 1e-12


def test_charge_of_a_run_without_a_log(tmp_path, make, write):
    write(make(1), tmp_path / "run")
    (tmp_path / "run" / "aims.out").unlink()
    (tmp_path / "run" / "control.in").write_text("charge 1.0 # one electron less\n")
    calc = aims.read(tmp_path / "run")
    assert calc.n_electrons == 13.0
    assert calc.fermi_level is None


# ------------------------------------------------------------------- detection and mixed runs


def test_detection(tmp_path, make, write, bundled):
    write(make(1), tmp_path / "run")
    folder = tmp_path / "run"
    assert aims.FORMAT.detect(folder) == folder
    assert aims.FORMAT.detect(folder / "rs_overlap.out") == folder
    assert aims.FORMAT.detect(folder / "geometry.in") == folder
    assert aims.FORMAT.detect(folder / "aims.out") is None
    assert {path.name for path in aims.FORMAT.inputs(folder)} >= {"rs_overlap.out", "geometry.in"}
    for code in ("openmx/si", "unified/si", "siesta/h2o", "abacus/graphene"):
        assert aims.FORMAT.detect(bundled / code) is None


def test_files_of_two_runs(tmp_path, make, write):
    write(make(1, Spin.COLLINEAR), tmp_path / "run")
    up = tmp_path / "run" / "rs_hamiltonian_up.out"
    plain = tmp_path / "run" / "rs_hamiltonian.out"
    plain.write_bytes(up.read_bytes())
    with pytest.raises(FormatError, match="do not belong together"):
        aims.read(tmp_path / "run")
    plain.unlink()
    up.unlink()
    with pytest.raises(FormatError, match="do not belong together"):
        aims.read(tmp_path / "run")


@pytest.mark.parametrize("name", ["geometry.in", "basis-indices.out"])
def test_missing_files(tmp_path, make, write, name):
    write(make(1), tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(MissingDataError, match=name):
        aims.read(tmp_path / "run")


def test_indices_of_another_run(tmp_path, make, write):
    write(make(1), tmp_path / "run")
    write(make(1, ls={"C1": [0], "C2": [0], "H": [0]}), tmp_path / "other")
    for name, problem in (("rs_indices.out", "another basis"), ("rs_overlap.out", "cut")):
        folder = tmp_path / name.replace(".", "_")
        write(make(1), folder)
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
        with pytest.raises(FormatError, match=problem):
            aims.read(folder).require("overlap")


# --------------------------------------------------------------------------- damaged numbers


@pytest.fixture(params=["periodic", "cluster"])
def run(request, tmp_path, make, write):
    calc = make(2, periodic=request.param == "periodic", ls={"C1": [0, 1], "C2": [0], "H": [0]})
    write(calc, tmp_path / "run", mode=request.param)
    return tmp_path / "run"


def read_all(folder):
    calc = aims.read(folder)
    return [calc.require(name).entries for name in ("overlap", "hamiltonian")]


def test_cut_files_never_pass(run):
    assert len(read_all(run)) == 2
    for path in sorted(run.iterdir()):
        if path.name == "aims.out":
            continue
        whole = path.read_bytes()
        ends = np.linspace(0, len(whole.rstrip()) - 6, 25).astype(int)
        for end in ends:
            path.write_bytes(whole[:end])
            if path.name == "geometry.in" and whole[:end].count(b"atom") == 4:
                continue  # the cut took digits of the last position only
            with pytest.raises(DockError):
                read_all(run)
        path.write_bytes(whole)


def test_flipped_bytes(run, rng):
    shapes = [one.shape for one in read_all(run)]
    for path in sorted(run.iterdir()):
        for _ in samples.flipped(path, rng, 25):
            with contextlib.suppress(DockError):
                found = read_all(run)
                if path.suffix == ".out" and "indices" not in path.name:
                    assert [one.shape for one in found] == shapes


def test_fortran_overflow_and_exponents(tmp_path, make, write):
    write(make(3), tmp_path / "run")
    expected = read_all(tmp_path / "run")
    path = tmp_path / "run" / "rs_hamiltonian.out"
    text = path.read_text()
    path.write_text(text.replace("E", "D").replace("\n", "\r\n"))
    np.testing.assert_array_equal(read_all(tmp_path / "run")[1], expected[1])
    path.write_text("************************\n" + text.split("\n", 1)[1])
    with pytest.raises(FormatError, match=r"no number.*\*\*\*"):
        read_all(tmp_path / "run")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("n_hamiltonian_matrix_size:", "n_matrix_size:", "header is damaged"),
        ("cell_index", "cells", "a title is missing"),
        ("999999999", "  7999999", "the cells are wrong"),
        ("index_hamiltonian(2", "index_hamiltonian(1", "a title is missing"),
    ],
)
def test_damaged_indices(tmp_path, make, write, old, new, problem):
    write(make(3), tmp_path / "run")
    path = tmp_path / "run" / "rs_indices.out"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FormatError, match=problem):
        aims.read(tmp_path / "run").require("overlap")


def test_contradicting_indices(tmp_path, make, write):
    write(make(3), tmp_path / "run")
    path = tmp_path / "run" / "rs_indices.out"
    head, rows = path.read_text().split("column_index_hamiltonian\n")
    columns = rows.split("\n")
    for changed, problem in (
        ([*columns[:2], columns[1], columns[1], *columns[4:]], "do not ascend"),
        (["         9", *columns[1:]], "a column is wrong"),
        (columns[1:], "cut"),
        (["         1", *columns], "too many numbers"),
    ):
        path.write_text(head + "column_index_hamiltonian\n" + "\n".join(changed))
        with pytest.raises(FormatError, match=problem):
            aims.read(tmp_path / "run").require("overlap")
    lines = head.split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith("index_hamiltonian(2"))
    words = lines[at + 1].split()
    lines[at + 1] = " ".join([*words[:-1], "3"])
    path.write_text("\n".join(lines) + "column_index_hamiltonian\n" + rows)
    with pytest.raises(FormatError, match="do not cover the entries"):
        aims.read(tmp_path / "run").require("overlap")
