"""HSX, DM, TSDE and TSHS files: what is read, and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import samples
from hypothesis import given, strategies as st

from dock.converters.format import ReadOptions
from dock.converters.siesta import FORMAT
from dock.converters.siesta.dm import read_dm
from dock.converters.siesta.hsx import is_hsx_head, read_hsx
from dock.converters.siesta.matrix_file import canonical_images
from dock.converters.siesta.reader import read_calculation
from dock.converters.siesta.sparse_rows import StoredRows
from dock.converters.siesta.tshs import read_tshs
from dock.core.check import check_calculation
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.binary import row_slices

plain = samples.beside(__file__, "independent_siesta")

RYDBERG = 13.6058


def dense(matrix, component=0):
    """Return the dense matrix of each lattice vector."""
    found = {}
    for vector in matrix.pairs.lattice_vectors:
        found[tuple(vector.tolist())] = matrix.to_csr(vector, component).toarray()
    return found


def same(found, expected, tolerance):
    for vector, values in expected.items():
        mine = found.get(vector, np.zeros_like(values))
        np.testing.assert_allclose(mine, values, rtol=0, atol=tolerance)


def patched(path, offset, fmt, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, offset, *values)
    path.write_bytes(bytes(data))


class TestAgainstThePlainReader:
    @pytest.mark.parametrize("name", ["h2o", "o2", "graphene"])
    def test_hamiltonian_overlap_density(self, bundled, name):
        folder = bundled / "siesta" / name
        calc = FORMAT.read(folder / f"{name}.HSX", ReadOptions())
        witness = plain.hsx(folder / f"{name}.HSX", RYDBERG)
        same(dense(calc.overlap), witness["S"], 0)
        for component, expected in enumerate(witness["H"]):
            same(dense(calc.hamiltonian, component), expected, 1e-13)
        density = plain.dm(folder / f"{name}.DM", witness["sign"])
        for component, expected in enumerate(density):
            same(dense(calc.density_matrix, component), expected, 0)
        assert calc.fermi_level == pytest.approx(witness["fermi"], abs=1e-12)
        assert calc.n_electrons == witness["electrons"]
        np.testing.assert_allclose(calc.structure.positions, witness["positions"] * 0.529177)
        assert tuple(calc.provenance.extra["nsc"]) == witness["nsc"]

    def test_image_order(self):
        for nsc in [(1, 1, 1), (3, 1, 5), (5, 3, 7)]:
            assert [tuple(row) for row in canonical_images(nsc).tolist()] == plain.images(nsc)


def test_images_without_columns_do_not_part_two_files(bundled):
    """SIESTA's HSX and DM may number such images differently."""
    folder = bundled / "siesta" / "graphene"
    file = read_hsx(folder / "graphene.HSX")
    basis = FORMAT.read(FORMAT.detect(folder), ReadOptions()).basis
    images = canonical_images((5, 5, 1))
    extra = np.concatenate([images, [[40, 40, 0]]]).astype(np.int32)
    scatter = StoredRows.of(file, extra, basis)
    moved = extra.copy()
    moved[-1] = (50, 50, 0)
    assert scatter.fits(file, moved)
    moved[0] = (60, 60, 0)
    assert not scatter.fits(file, moved)
    assert not scatter.fits(file, images)


class TestVersions:
    def test_version_0_gives_the_same_matrices_in_single_precision(self, bundled):
        old = FORMAT.read(bundled / "siesta" / "h2o_v0" / "h2o.HSX", ReadOptions())
        new = FORMAT.read(bundled / "siesta" / "h2o" / "h2o.HSX", ReadOptions())
        for quantity in ("hamiltonian", "overlap"):
            np.testing.assert_allclose(
                old.require(quantity).entries, new.require(quantity).entries, rtol=2e-7, atol=1e-6
            )
        assert old.fermi_level == pytest.approx(new.fermi_level, abs=1e-8)
        assert any("single precision" in note for note in old.provenance.extra["notes"])

    def test_big_endian(self, bundled, tmp_path):
        source = bundled / "siesta" / "o2" / "o2.DM"
        parts = []
        for number, data in enumerate(plain.records(source.read_bytes())):
            size = 8 if number >= 28 else 4  # head, counts, 26 rows of columns, then numbers
            swapped = np.frombuffer(data, f"<i{size}").astype(f">i{size}").tobytes()
            parts.append(struct.pack(">i", len(data)) + swapped + struct.pack(">i", len(data)))
        target = tmp_path / "o2.DM"
        target.write_bytes(b"".join(parts))
        little, big = read_dm(source), read_dm(target)
        assert little.nsc == big.nsc
        for mine, theirs in zip(
            little.sections["density_matrix"], big.sections["density_matrix"], strict=True
        ):
            np.testing.assert_array_equal(mine.read(0, 26), theirs.read(0, 26))

    def test_old_dm_header_takes_the_supercell_of_the_hsx(self, copy_run):
        run = copy_run("graphene")
        whole = FORMAT.read(run / "graphene.HSX", ReadOptions()).density_matrix
        data = (run / "graphene.DM").read_bytes()
        (run / "graphene.DM").write_bytes(struct.pack("<4i", 8, 26, 1, 8) + data[28:])
        found = FORMAT.read(run / "graphene.HSX", ReadOptions()).density_matrix
        np.testing.assert_array_equal(found.entries, whole.entries)

    def test_old_dm_alone_has_no_supercell(self, copy_run):
        run = copy_run("graphene", without=(".HSX",))
        (run / "graphene.DM").write_bytes(
            struct.pack("<4i", 8, 26, 1, 8) + (run / "graphene.DM").read_bytes()[28:]
        )
        (run / "graphene.fdf").write_text(
            (run / "graphene.fdf").read_text().replace("NumberOfSpecies", "Xspecies")
        )
        calc = FORMAT.read(FORMAT.detect(run), ReadOptions(basis=run))
        with pytest.raises(MissingDataError, match="supercell"):
            calc.require("density_matrix")

    @pytest.mark.parametrize("name", ["h2o", "o2"])
    def test_tshs_has_the_same_matrices(self, bundled, name):
        folder = bundled / "siesta" / name
        one = FORMAT.read(folder / f"{name}.HSX", ReadOptions())
        two = FORMAT.read(folder / f"{name}.TSHS", ReadOptions())
        for quantity in ("overlap", "hamiltonian"):
            np.testing.assert_array_equal(
                one.require(quantity).entries, two.require(quantity).entries
            )
        assert two.basis.ls("O") == one.basis.ls("O")

    def test_energy_density_matrix(self, bundled):
        calc = FORMAT.read(bundled / "siesta" / "h2o" / "h2o.HSX", ReadOptions())
        energy = calc.require("EDM").dot(calc.overlap)
        assert energy == pytest.approx(calc.density_matrix.dot(calc.hamiltonian), abs=1e-4)


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "reader"),
        [
            ("h2o/h2o.HSX", read_hsx),
            ("h2o_v0/h2o.HSX", read_hsx),
            ("h2o/h2o.DM", read_dm),
            ("h2o/h2o.TSDE", read_dm),
            ("h2o/h2o.TSHS", read_tshs),
        ],
    )
    def test_every_cut_is_refused(self, bundled, tmp_path, rng, name, reader):
        data = (bundled / "siesta" / name).read_bytes()
        cuts = {0, 1, 4, 20, 27, 28, len(data) - 1, *rng.integers(0, len(data), 60).tolist()}
        for cut in cuts:
            path = tmp_path / Path(name).name
            path.write_bytes(data[:cut])
            if path.suffix == ".TSDE" and cut == 6844:
                continue  # exactly the density matrix: a DM file
            with pytest.raises(FormatError) as caught:
                reader(path)
            assert str(path) in str(caught.value)

    @pytest.mark.parametrize("name", ["h2o", "h2o_v0"])
    def test_flipped_bits_give_errors_or_findings_or_other_numbers(self, copy_run, rng, name):
        run = copy_run(name)
        path = run / "h2o.HSX"
        data = path.read_bytes()
        refused = 0
        for place in rng.integers(0, len(data), 80):
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(bytes(damaged))
            try:
                calc = FORMAT.read(path, ReadOptions())
                refused += any(item.level == "error" for item in check_calculation(calc))
            except DockError:
                refused += 1
        assert refused > 20

    def test_longer_file(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        path.write_bytes(path.read_bytes() + bytes(12))
        with pytest.raises(FormatError, match="longer"):
            read_hsx(path)

    def test_unknown_version(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        patched(path, 4, "<i", 3)
        with pytest.raises(FormatError, match="version 3"):
            read_hsx(path)

    def test_text_file(self, tmp_path):
        path = tmp_path / "x.HSX"
        path.write_text("SystemLabel x\n" * 30)
        with pytest.raises(FormatError, match="Fortran records"):
            read_hsx(path)

    def test_column_twice(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        data = path.read_bytes()
        row = struct.pack("<25i", 92, *range(1, 24), 92)
        place = data.index(row)
        patched(path, place + 8, "<i", 1)
        with pytest.raises(FormatError, match="column 1 twice in row 1"):
            FORMAT.read(path, ReadOptions()).require("overlap")

    def test_column_out_of_range(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        place = path.read_bytes().index(struct.pack("<25i", 92, *range(1, 24), 92))
        patched(path, place + 4, "<i", 24)
        with pytest.raises(FormatError, match="out of range"):
            FORMAT.read(path, ReadOptions()).require("overlap")

    def test_missing_partner(self, copy_run):
        path = copy_run("graphene") / "graphene.HSX"
        data = path.read_bytes()
        head = struct.pack("<i", 364)
        place = data.index(head) + 4
        shifts = np.frombuffer(data[place : place + 300], "<i4").reshape(-1, 3).copy()
        shifts[3] = [7, 0, 0]
        path.write_bytes(data[:place] + shifts.tobytes() + data[place + 300 :])
        with pytest.raises(FormatError, match="no partner"):
            FORMAT.read(path, ReadOptions()).require("overlap")

    def test_not_finite(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        patched(path, path.stat().st_size - 20, "<d", np.nan)
        calc = FORMAT.read(path, ReadOptions())
        with pytest.raises(FormatError, match="not finite"):
            calc.require("overlap")

    def test_changed_meanwhile(self, copy_run):
        path = copy_run("h2o") / "h2o.HSX"
        calc = FORMAT.read(path, ReadOptions())
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(FormatError, match="changed"):
            calc.require("overlap")

    def test_impossible_sizes_are_refused_before_allocation(self, copy_run):
        path = copy_run("h2o") / "h2o.DM"
        patched(path, 4, "<i", 9_000_000)
        with pytest.raises(FormatError, match=r"wrong length"):
            read_dm(path)
        patched(path, 4, "<2i", 23, 3)
        with pytest.raises(FormatError, match="spin components"):
            read_dm(path)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 80))
def test_row_slices_cover_all_rows_once(counts, limit):
    slices = list(row_slices(np.array(counts, dtype=np.int64), limit))
    assert [row for begin, end in slices for row in range(begin, end)] == list(range(len(counts)))
    for begin, end in slices:
        assert sum(counts[begin:end]) <= limit or end == begin + 1


@given(st.binary(max_size=16))
def test_detection_never_raises(head):
    assert is_hsx_head(head) in (True, False)


def test_reader_of_a_single_dm(copy_run):
    run = copy_run("h2o", without=(".HSX", ".TSHS", ".TSDE"))
    calc = read_calculation(FORMAT.detect(run), ReadOptions())
    assert calc.available == ("density_matrix",)
    assert calc.fermi_level == pytest.approx(-1.94286074)
