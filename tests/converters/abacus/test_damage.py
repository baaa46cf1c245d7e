"""Cut files, flipped bytes, wrong numbers and files of two runs: a clean error, or equal data."""

import contextlib
import struct

import numpy as np
import pytest
import samples

import dock.converters.abacus as abacus
from dock.converters.abacus.matrices import sparse_file
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, MissingDataError

_SHARED = samples.beside(__file__, "conftest")
random_calculation, write_run = _SHARED.random_calculation, _SHARED.write_run


@pytest.fixture(params=["old", "new"])
def run(request, tmp_path):
    """A small run with spinors, in both layouts; the log and matrices may be changed."""
    write_run(
        random_calculation(1, Spin.NONCOLLINEAR), tmp_path / "run", layout=request.param, digits=4
    )
    return tmp_path / "run"


def read_all(folder):
    calc = abacus.read(folder)
    return [calc.require(name).entries for name in calc.available]


def test_a_cut_matrix_never_passes(run):
    for path in sorted((run / "OUT.ABACUS").glob("*.csr")):
        whole = path.read_bytes()
        for end in np.linspace(0, len(whole.rstrip()) - 1, 20).astype(int):
            path.write_bytes(whole[:end])
            with pytest.raises(DockError) as caught:
                read_all(run)
            assert path.name in str(caught.value) or "OUT.ABACUS" in str(caught.value)
        path.write_bytes(whole)
    assert len(read_all(run)) == 2


def test_a_matrix_cut_between_two_lattice_vectors_never_passes(run):
    path = next((run / "OUT.ABACUS").glob("*h*.csr"), None) or next(
        (run / "OUT.ABACUS").glob("*HR*.csr")
    )
    lines = path.read_text().splitlines(keepends=True)
    heads = [
        n
        for n, line in enumerate(lines)
        if len(line.split()) == 4 and line[0] != " " and "." not in line
    ]
    heads = [n for n in heads if all(word.lstrip("-").isdigit() for word in lines[n].split())]
    for head in heads[1:]:
        path.write_text("".join(lines[:head]))
        with pytest.raises(FormatError, match=r"cut|number of lattice vectors"):
            read_all(run)


def test_flipped_bytes_are_refused_or_change_numbers_only(run, rng):
    reference = read_all(run)
    for path in sorted((run / "OUT.ABACUS").glob("*.csr")):
        for _ in samples.flipped(path, rng, 30):
            with contextlib.suppress(DockError):
                dtypes = [one.dtype for one in read_all(run)]
                assert dtypes == [one.dtype for one in reference]


def test_a_damaged_log_is_refused_or_silent(run, rng):
    path = run / "OUT.ABACUS" / "running_scf.log"
    whole = path.read_bytes()
    for end in range(0, len(whole), 61):
        path.write_bytes(whole[:end])
        with contextlib.suppress(DockError):
            read_all(run)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"Dimension of S(R): 26", b"Dimension of S(R): 27", "another size"),
        (b"number of S(R): 43", b"number of S(R): 42", "number of lattice vectors"),
        (b"number of S(R): 43", b"number of S(R): 44", "number of lattice vectors"),
        (b"number of S(R): 43", b"number of S(R): **", "header is damaged"),
        (b"STEP: 0", b"STEP: x", "no ionic step"),
        (b" 0 13 26", b" 1 13 26", "row pointers are wrong"),
        (b" 13 14 15", b" 13 14 99", "out of range"),
        (b" 13 14 15", b" 14 13 15", "do not ascend"),
        (b" 13 14 15", b" 13 14 15 16", "too many numbers"),
        (b" 13 14 15", b" 13 *** 15", "no number"),
        (b"-2 0 0 169", b"-2 0 0", "line of a lattice vector is damaged"),
        (b"-2 0 0 169", b"-2 0 1 169", "occurs twice"),
        (b"-2 0 0 169", b"-3 0 0 169", "no partner of R"),
    ],
)
def test_contradictions_are_named(copy_run, old, new, problem):
    folder = copy_run("si2_get_S")
    path = folder / "OUT.GETS" / "SR.csr"
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(FormatError, match=problem) as caught:
        abacus.read(folder / "OUT.GETS").require("overlap")
    assert "SR.csr" in str(caught.value)


def test_windows_line_ends_and_fortran_exponents(copy_run):
    folder = copy_run("si2_get_S")
    expected = abacus.read(folder).overlap.entries
    path = folder / "OUT.GETS" / "SR.csr"
    text = path.read_bytes()
    path.write_bytes(text.replace(b"e-", b"D-").replace(b"e+", b"D+").replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(abacus.read(folder).overlap.entries, expected)


def test_wrapped_lines(copy_run):
    folder = copy_run("si2_get_S")
    expected = abacus.read(folder).overlap.entries
    path = folder / "OUT.GETS" / "SR.csr"
    lines = []
    for line in path.read_text().splitlines():
        words = line.split()
        wide = len(words) > 12
        parts = [words[n : n + 12] for n in range(0, len(words), 12)] if wide else [words]
        lines += [" ".join(part) for part in parts]
    path.write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(abacus.read(folder).overlap.entries, expected)


def test_a_cut_compressed_file(copy_run):
    folder = copy_run("graphene")
    path = folder / "OUT.ABACUS" / "data-HR-sparse_SPIN0.csr.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FormatError, match="cannot be read"):
        abacus.read(folder).require("hamiltonian")


@pytest.mark.parametrize("place", [300, 3000, 12_000])
def test_a_compressed_file_with_changed_bytes(copy_run, place):
    """What zlib raises is no OSError."""
    folder = copy_run("graphene")
    path = folder / "OUT.ABACUS" / "data-HR-sparse_SPIN0.csr.gz"
    content = bytearray(path.read_bytes())
    content[place : place + 400] = bytes(range(200)) * 2
    path.write_bytes(bytes(content))
    with pytest.raises(FormatError, match="cannot be read"):
        abacus.read(folder).require("hamiltonian")


def test_complex_numbers_in_a_run_without_spin(tmp_path):
    write_run(random_calculation(2, quantities=("overlap", "hamiltonian")), tmp_path / "run")
    path = tmp_path / "run" / "OUT.ABACUS" / "data-HR-sparse_SPIN0.csr"
    lines = path.read_text().splitlines()
    at = next(
        n
        for n, line in enumerate(lines)
        if len(line.split()) == 4 and line.split()[3] != "0" and n > 2
    )
    lines[at + 1] = " ".join(f"({word},1.0)" for word in lines[at + 1].split())
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError, match="the matrix is complex"):
        abacus.read(tmp_path / "run").require("hamiltonian")


def test_spin_parts_that_differ_in_the_overlap(tmp_path):
    write_run(random_calculation(2, Spin.NONCOLLINEAR), tmp_path / "run")
    path = tmp_path / "run" / "OUT.ABACUS" / "data-SR-sparse_SPIN0.csr"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(" ("))
    words = lines[at].split()
    words[0] = "(7.0,0.0)"
    lines[at] = " " + " ".join(words)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError, match="the spins differ"):
        abacus.read(tmp_path / "run").require("overlap")


# ------------------------------------------------------------------- binary records and .npz


def sparse_of(matrix, R, component=0):
    dense = matrix.to_csr(R, component).toarray()
    rows, cols = np.nonzero(dense)
    return (
        dense[rows, cols],
        cols,
        np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))]),
    )


def binary_record(native, step):
    """One step as ABACUS documents it for out_hsr 2."""
    vectors = native.pairs.lattice_vectors.tolist()
    parts = [struct.pack("=3i", step, native.basis.n_orbitals, len(vectors))]
    for R in vectors:
        values, cols, pointers = sparse_of(native, R)
        parts += [struct.pack("=4i", *R, len(values)), values.tobytes()]
        parts += [cols.astype("i4").tobytes(), pointers.astype("i8").tobytes()]
    return b"".join(parts)


def abacus_order(calc, quantity):
    from dock.core.orbital_order import reorder_entries, shell_orders

    matrix = calc.require(quantity)
    orders = shell_orders(calc.basis, "abacus")
    entries = reorder_entries(matrix.entries, calc.basis, matrix.pairs, orders)
    return matrix.with_entries(entries / (13.605698 if quantity == "hamiltonian" else 1.0))


def test_binary_records(copy_run):
    folder = copy_run("graphene")
    calc = abacus.read(folder)
    out = folder / "OUT.ABACUS"
    data = binary_record(abacus_order(calc, "hamiltonian"), 0)
    (out / "hrs1_nao.dat").write_bytes(data)
    (out / "data-HR-sparse_SPIN0.csr.gz").unlink()
    again = abacus.read(folder)
    mine, theirs = calc.hamiltonian.aligned(again.hamiltonian)
    np.testing.assert_allclose(theirs.entries, mine.entries, rtol=1e-14)
    file = sparse_file(out / "hrs1_nao.dat", 26)
    assert [step.number for step in file.steps] == [0]
    for end in np.linspace(0, len(data) - 1, 40).astype(int):
        (out / "hrs1_nao.dat").write_bytes(data[:end])
        with pytest.raises(FormatError):
            abacus.read(folder).require("hamiltonian")
    (out / "hrs1_nao.dat").write_bytes(data + binary_record(abacus_order(calc, "hamiltonian"), 1))
    assert [step.number for step in file.steps] == [0, 1]


def write_npz(path, native, keep):
    arrays = {"lat_vec": np.zeros((3, 3))}
    for index in range(len(native.pairs)):
        R, i, j = (
            native.pairs.R[index].tolist(),
            int(native.pairs.i[index]),
            int(native.pairs.j[index]),
        )
        if keep(R, i, j):
            arrays[f"mat_{i}_{j}_{R[0]}_{R[1]}_{R[2]}"] = native.block(R, i, j)
    np.savez(path, **arrays)


@pytest.mark.parametrize("half", [False, True])
def test_npz(copy_run, half):
    folder = copy_run("graphene")
    calc = abacus.read(folder)
    out = folder / "OUT.ABACUS"
    keep = (
        (lambda R, i, j: i < j or (i == j and R >= [0, 0, 0])) if half else (lambda R, i, j: True)
    )
    write_npz(out / "hrs1_nao.npz", abacus_order(calc, "hamiltonian"), keep)
    (out / "data-HR-sparse_SPIN0.csr.gz").unlink()
    again = abacus.read(folder)
    mine, theirs = calc.hamiltonian.aligned(again.hamiltonian)
    np.testing.assert_allclose(theirs.entries, mine.entries, rtol=1e-13, atol=1e-13)


def test_damaged_npz(copy_run):
    folder = copy_run("graphene")
    out = folder / "OUT.ABACUS"
    (out / "data-HR-sparse_SPIN0.csr.gz").unlink()
    path = out / "hrs1_nao.npz"
    np.savez(path, mat_0_0_0_0_0=np.zeros((13, 12)))
    with pytest.raises(FormatError, match="wrong shape"):
        abacus.read(folder).require("hamiltonian")
    np.savez(path, mat_0_5_0_0_0=np.zeros((13, 13)))
    with pytest.raises(FormatError, match="an atom is out of range"):
        abacus.read(folder).require("hamiltonian")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FormatError, match="cannot be read"):
        abacus.read(folder).require("hamiltonian")


# ------------------------------------------------------------------------- files of two runs


@pytest.mark.parametrize(
    ("name", "head", "problem"),
    [
        ("hrs1_nao.csr", " --- Ionic Step 1 ---\n", "several files hold the same hamiltonian"),
        ("data-HR-sparse_SPIN1.csr", "STEP: 0\n", "do not fit the run's spin"),
    ],
    ids=["two namings in one folder", "a second spin that the run has not"],
)
def test_a_file_of_another_run(copy_run, name, head, problem):
    folder = copy_run("graphene")
    (folder / "OUT.ABACUS" / name).write_text(head)
    with pytest.raises(FormatError, match=problem):
        abacus.read(folder)


def test_a_missing_spin(tmp_path):
    write_run(random_calculation(2, Spin.COLLINEAR), tmp_path / "run")
    (tmp_path / "run" / "OUT.ABACUS" / "data-HR-sparse_SPIN1.csr").unlink()
    with pytest.raises(FormatError, match="do not fit the run's spin"):
        abacus.read(tmp_path / "run")


def test_a_missing_spin_of_the_density(tmp_path):
    calc = random_calculation(2, Spin.COLLINEAR, ("overlap", "density_matrix"))
    write_run(calc, tmp_path / "run")
    (tmp_path / "run" / "OUT.ABACUS" / "data-DMR-sparse_SPIN1.csr").unlink()
    with pytest.raises(FormatError, match="one spin of the density matrix is missing"):
        abacus.read(tmp_path / "run").require("density_matrix")


def test_several_output_folders(copy_run):
    import shutil

    folder = copy_run("graphene")
    shutil.copytree(folder / "OUT.ABACUS", folder / "OUT.second")
    assert abacus.FORMAT.detect(folder) == folder
    with pytest.raises(FormatError, match=r"OUT\.ABACUS, OUT\.second"):
        abacus.read(folder)
    assert abacus.read(folder / "OUT.second").n_electrons == 8.0


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="out_mat_hs2 1"):
        abacus.read(tmp_path)
