"""Every reader fed cut and damaged files through the command line.

A cut file ends in a sentence and exit code 2, or in the very numbers of the whole file (where the
cut took nothing that counts). A flipped bit may change a value; it may not end in a traceback, in
NaN, or in matrices of another shape without a word.
"""

import gzip
import random
import shutil
import sys
import tarfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.converters.batch import MARKER
from dock.core.check import check_calculation

N_CUTS, N_FLIPS = 24, 40
HS = WriteOptions(quantities=("hamiltonian", "overlap"))
TEXT_PARTS = (".out", ".in", ".csr", ".log", ".XV", ".dat")


CODES = ("siesta", "abacus", "aims", "cluster", "cp2k", "openmx", "pyscf", "legacy", "deeph")


@pytest.fixture(scope="module", params=CODES)
def run(request, bundled, tmp_path_factory):
    """One small run of each code: bundled, or made from a bundled one with our writers."""
    place = tmp_path_factory.mktemp(request.param) / "run"
    molecule = dock.read(bundled / "siesta" / "h2o")
    if request.param == "pyscf":
        pytest.importorskip("pyscf.gto")
    if request.param in ("siesta", "openmx", "pyscf"):
        source = bundled / request.param / "h2o"
        shutil.copytree(source, place, copy_function=shutil.copyfile)
    elif request.param == "abacus":
        shutil.copytree(bundled / "abacus" / "si2_get_S", place, copy_function=shutil.copyfile)
    elif request.param == "cp2k":
        with tarfile.open(bundled / "cp2k" / "runs.tar.xz") as packed:
            packed.extractall(place.parent, **samples.TAR_FILTER)  # noqa: S202 - our own archive
        (place.parent / "h2o").rename(place)
    elif request.param == "aims":
        options = WriteOptions(quantities=HS.quantities, settings={"mode": "periodic"})
        dock.write(molecule, place, "aims", options)
    elif request.param == "cluster":
        dock.write(
            dock.read(bundled / "openmx" / "h2o"),
            place,
            "aims",
            WriteOptions(quantities=HS.quantities, settings={"mode": "cluster"}, allow_lossy=True),
        )
    else:
        name = {"legacy": "deeph-legacy"}.get(request.param, request.param)
        dock.write(molecule, place, name, HS)
    name = {"cluster": "aims", "legacy": "deeph-legacy"}.get(request.param, request.param)
    return place, name, numbers(place, name)


def numbers(place, name):
    """Return what counts of a run: structure, basis and matrices."""
    calc = dock.read(place, name)
    found = {quantity: calc.require(quantity) for quantity in calc.available}
    return calc, found


def is_same(one, two):
    (calc, matrices), (other, others) = one, two
    return (
        set(matrices) == set(others)
        and calc.structure.is_close(other.structure, 1e-5)
        and all(
            np.array_equal(mine.entries, others[name].on_pairs(mine.pairs).entries)
            for name, mine in matrices.items()
            if mine.pairs.n_atoms == others[name].pairs.n_atoms
        )
    )


def files(place):
    skipped = ("README", "reference")
    found = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return [path for path in found if not path.name.startswith(skipped)]


_opened = []


def _note_opened(event, arguments):
    if event == "open" and _opened and isinstance(arguments[0], str):
        _opened[-1].add(Path(arguments[0]))


sys.addaudithook(_note_opened)


@contextmanager
def opened():
    """Give the set of files that Python opens meanwhile; the HDF5 library opens its own."""
    _opened.append(set())
    try:
        yield _opened[-1]
    finally:
        _opened.pop()


@pytest.fixture(scope="module")
def read_files(run, tmp_path_factory):
    """The files of a run that a conversion opens, and the bytes that it writes of them."""
    place, name, _ = run
    out = tmp_path_factory.mktemp("whole") / "out"
    with opened() as names:
        assert convert(place, name, out)
    found = [path for path in files(place) if path in names or is_hdf5(path)]
    assert found
    return found, written(out)


def is_hdf5(path):
    return path.read_bytes().startswith(b"\x89HDF")


def written(out):
    """Return the bytes of a converted folder; its marker has the dates of what was converted."""
    return {name: data for name, data in samples.listing(out).items() if name != MARKER}


def convert(place, name, out):
    """Convert on the command line; True where something was written."""
    shutil.rmtree(out, ignore_errors=True)
    answer = samples.cli("convert", place, "--from", name, "-o", out, "-q")
    assert answer.code in (0, 2), answer
    assert "Traceback" not in answer.out + answer.err
    if answer.code:
        assert answer.err.startswith("dock: ")
        assert not out.exists()
    return answer.code == 0


def test_cut_files(run, read_files, tmp_path):
    place, name, whole = run
    chance = random.Random(1)
    refused = 0
    for path in read_files[0]:
        for end in samples.cut_short(path, chance, N_CUTS):
            if convert(place, name, tmp_path / "out"):
                if written(tmp_path / "out") == read_files[1]:
                    continue
                assert is_subset(numbers(place, name), whole), (path.name, end)
            else:
                refused += 1
    assert refused > 20
    assert is_same(numbers(place, name), whole)


def is_subset(found, whole):
    """The numbers of the whole run; a matrix whose file is cut to nothing may be absent."""
    (calc, matrices), (complete, others) = found, whole
    kept = {name: others[name] for name in matrices if name in others}
    return is_same((calc, matrices), (complete, kept))


def test_files_that_are_not_opened_do_not_count(run, read_files, tmp_path):
    """So that damage to them needs no tests: emptied, they leave the very same folder."""
    place, name, _ = run
    for path in set(files(place)) - set(read_files[0]):
        with samples.mended(path):
            path.write_bytes(b"")
            assert convert(place, name, tmp_path / "out")
        assert written(tmp_path / "out") == read_files[1], path.name


def test_flipped_bits(run, read_files, tmp_path):
    place, name, (calc, _) = run
    chance = random.Random(2)
    seen = []  # what was written before needs no second look
    for path in read_files[0]:
        for _ in samples.bits_flipped(path, chance, N_FLIPS):
            if convert(place, name, tmp_path / "out"):
                if written(tmp_path / "out") in seen:
                    continue
                seen.append(written(tmp_path / "out"))
                converted, matrices = numbers(tmp_path / "out", "deeph")
                assert converted.structure.n_atoms == calc.structure.n_atoms, path.name
                for matrix in matrices.values():
                    assert np.isfinite(matrix.entries).all()
                assert all(finding.message for finding in check_calculation(converted))


def text_files(place):
    return [path for path in files(place) if path.suffix in TEXT_PARTS or path.name == "STRU"]


def test_windows_line_ends_change_nothing(run):
    place, name, whole = run
    if not text_files(place):
        pytest.skip("no text files")
    kept = {path: path.read_bytes() for path in text_files(place)}
    try:
        for path, content in kept.items():
            path.write_bytes(content.replace(b"\n", b"\r\n"))
        assert is_same(numbers(place, name), whole)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def matrix_text(place):
    names = ("rs_", "SR.csr", "h2o-S_SPIN", "hamiltonian.out", "overlap-matrix.out")
    paths = [
        path
        for path in text_files(place)
        if path.name.startswith(names) and "indices" not in path.name
    ]
    return paths or pytest.skip("no matrices as text")


def test_exponents_of_fortran_are_understood(run):
    place, name, whole = run
    for path in matrix_text(place):
        with samples.mended(path) as content:
            path.write_bytes(
                content.replace(b"e-", b"D-").replace(b"E-", b"D-").replace(b"e+", b"D+")
            )
            assert path.read_bytes() != content
            assert is_same(numbers(place, name), whole)


def test_overflowed_columns_are_refused(run, tmp_path):
    place, name, _ = run
    for path in matrix_text(place):
        with samples.mended(path) as content:
            at = content.rfind(b"e-") if b"e-" in content else content.rfind(b"E-")
            at = content.rfind(b".", 0, at) - 2
            path.write_bytes(content[:at] + b" *****" + content[at + 6 :])
            assert not convert(place, name, tmp_path / "out"), path.name


def blocks_of(path):
    """Return the header of a matrix file of ABACUS, and its blocks by lattice vector."""
    lines = gzip.decompress(path.read_bytes()).splitlines()
    blocks, at = {}, 3
    while at < len(lines):
        *R, size = map(int, lines[at].split())
        blocks[tuple(R)] = lines[at : at + (4 if size else 1)]
        at += len(blocks[tuple(R)])
    return lines[:3], blocks


def write_blocks(path, head, blocks):
    count = head[2].rpartition(b" ")[0] + b" %d" % len(blocks)
    lines = [*head[:2], count, *(line for block in blocks.values() for line in block)]
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))


def test_a_lattice_vector_in_s_but_not_in_h(bundled, tmp_path):
    """Without R alone the file is refused; without ±R, H is zero there and nothing is shifted."""
    source, place = bundled / "abacus" / "graphene", tmp_path / "run"
    shutil.copytree(source, place, copy_function=shutil.copyfile)
    path = place / "OUT.ABACUS" / "data-HR-sparse_SPIN0.csr.gz"
    head, blocks = blocks_of(path)
    R = (-4, -2, 0)
    del blocks[R]
    write_blocks(path, head, blocks)
    answer = samples.cli("convert", place, "-o", tmp_path / "out", "-q")
    samples.refused(answer, "no partner of R = (4, 2, 0)", path.name)
    assert not (tmp_path / "out").exists()

    del blocks[4, 2, 0]
    write_blocks(path, head, blocks)
    assert convert(place, "abacus", tmp_path / "out")
    whole, found = dock.read(source), dock.read(tmp_path / "out")
    one, two = whole.hamiltonian.aligned(found.hamiltonian)
    two = two.on_pairs(one.pairs)
    gone = np.all(np.abs(one.pairs.R) == (4, 2, 0), axis=1) & (
        one.pairs.R[:, 0] * one.pairs.R[:, 1] > 0
    )
    gone = np.repeat(gone, one.layout.rows * one.layout.cols)
    np.testing.assert_array_equal(two.entries, np.where(gone, 0.0, one.entries))
    assert np.abs(one.entries[:, gone]).max() > 0
    one, two = whole.overlap.aligned(found.overlap)
    np.testing.assert_array_equal(two.on_pairs(one.pairs).entries, one.entries)
