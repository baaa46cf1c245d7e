"""scfout files: what is read, what is written back, and what is refused."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import samples
from hypothesis import HealthCheck, given, settings, strategies as st

from dock import errors
from dock.converters.openmx.scfout import (
    Scfout,
    ScfoutFile,
    box_cells,
    section_counts,
    split_lines,
    write_scfout,
)

plain = samples.beside(__file__, "independent_scfout")

SMALL = ["h2o", "h2o-v38", "o2-spin", "o2-nc-soc", "o2-nc-soc-v38"]
ALL = [*SMALL, "co-f", "fe-spin", "gaas-soc", "graphene", "graphene-v38", "mos2", "si"]
KINDS = [(0, 0, 1), (0, 1, 1), (0, 3, 1), (3, 0, 1), (3, 1, 2), (3, 3, 1)]
# Reading a damaged file of 3 KiB may cost Python objects, but never what a wrong count asks for.
MEMORY_LIMIT = 8 * 2**20


def save(folder, data, name="x.scfout"):
    path = Path(folder) / name
    path.write_bytes(data)
    return path


def real(shared, name):
    return shared / "fixtures" / "openmx" / name / f"{name}.scfout"


def fields_equal(one, two):
    for name in Scfout.__dataclass_fields__:
        first, second = getattr(one, name), getattr(two, name)
        if name == "matrices":
            assert list(first) == list(second)
            for section, values in first.items():
                np.testing.assert_array_equal(values, second[section])
        else:
            np.testing.assert_array_equal(first, second, err_msg=name)


class TestRead:
    @pytest.mark.parametrize(("version", "spin", "orders"), KINDS)
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_agrees_with_the_plain_reader(self, tmp_path, version, spin, orders, order):
        data = plain.build(version=version, spin=spin, orders=orders, order=order)
        witness = plain.read(data, order)
        found = ScfoutFile.open(save(tmp_path, data))
        assert (found.version, found.spin_switch, found.order_max) == (version, spin, orders)
        assert found.byte_order == {"<": "little", ">": "big"}[order]
        np.testing.assert_array_equal(found.n_orbitals, witness["no"])
        np.testing.assert_array_equal(found.cells, witness["ijk"])
        np.testing.assert_array_equal(found.cell, witness["tv"])
        np.testing.assert_array_equal(found.positions, witness["xyz"])
        np.testing.assert_array_equal(found.pair_j + 1, np.concatenate(witness["natn"]))
        np.testing.assert_array_equal(found.pair_cell, np.concatenate(witness["ncn"]))
        tail = witness["tail"]
        assert [found.chemical_potential, found.temperature] == tail[:2]
        assert [*found.core_dipole, *found.background_dipole] == tail[2:8]
        assert [found.n_electrons, found.total_spin] == tail[8:]
        assert found.solver_name == "Band"
        assert found.input_text == "System.Name x\n"
        for section, blocks in plain_sections(witness).items():
            values = found.read(section, all_orders=True)
            np.testing.assert_array_equal(values, blocks, err_msg=section)
            assert values.dtype == np.float64
            assert values.dtype.isnative

    def test_position_gives_order_one_unless_asked(self, tmp_path):
        data = plain.build(orders=3)
        found = ScfoutFile.open(save(tmp_path, data))
        every = found.read("position", all_orders=True)
        assert every.shape == (9, found.n_entries)
        np.testing.assert_array_equal(found.read("position"), every[::3])

    def test_sections_that_the_file_lacks(self, tmp_path):
        found = ScfoutFile.open(save(tmp_path, plain.build(version=0)))
        with pytest.raises(errors.MissingDataError, match=r"3\.8"):
            found.read("momentum")
        with pytest.raises(errors.MissingDataError, match="non-collinear"):
            found.read("hamiltonian_imag")
        with pytest.raises(errors.MissingDataError, match="hamiltonian, overlap"):
            found.read("kinetic")

    def test_long_lines_and_foreign_letters_survive(self, tmp_path):
        text = "# " + 400 * "ü" + "\nend"
        path = tmp_path / "x.scfout"
        source = ScfoutFile.open(save(tmp_path, plain.build(), "y.scfout")).load()
        write_scfout(path, replace(source, input_text=text))
        assert ScfoutFile.open(path).input_text == text

    def test_a_file_replaced_meanwhile_is_noticed(self, tmp_path):
        path = save(tmp_path, plain.build())
        found = ScfoutFile.open(path)
        path.write_bytes(plain.build(no=(1, 1)))
        with pytest.raises(errors.FormatError, match="changed"):
            found.read("overlap")

    def test_missing_file_and_folder(self, tmp_path):
        with pytest.raises(errors.MissingDataError, match="No such file"):
            ScfoutFile.open(tmp_path / "none.scfout")
        with pytest.raises(errors.MissingDataError, match="directory"):
            ScfoutFile.open(tmp_path)

    @pytest.mark.shared
    @pytest.mark.parametrize("name", ALL)
    def test_real_files_hold_the_electrons(self, shared, name):
        found = ScfoutFile.open(real(shared, name))
        populations = found.read("density") @ found.read("overlap")[0]
        electrons = 2 * populations[0] if found.spin_switch == 0 else populations[:2].sum()
        assert electrons == pytest.approx(found.n_electrons, abs=1e-6)
        imaginary = "hamiltonian_imag" in found.sections
        assert imaginary == (found.spin_switch == 3)

    @pytest.mark.shared
    def test_cells_stand_in_the_order_of_openmx(self, shared):
        for name in ALL:
            cells = ScfoutFile.open(real(shared, name)).cells
            np.testing.assert_array_equal(cells, box_cells(cells.max()))


class TestRoundTrip:
    @pytest.mark.parametrize(("version", "spin", "orders"), KINDS)
    @pytest.mark.parametrize("byte_order", ["little", "big"])
    def test_synthetic(self, tmp_path, version, spin, orders, byte_order):
        data = plain.build(version=version, spin=spin, orders=orders)
        source = ScfoutFile.open(save(tmp_path, data)).load()
        target = tmp_path / "again.scfout"
        write_scfout(target, source, version=version, byte_order=byte_order)
        fields_equal(ScfoutFile.open(target).load(), source)

    @pytest.mark.shared
    @pytest.mark.parametrize("name", ALL)
    def test_real_files_byte_by_byte(self, shared, tmp_path, name):
        source = ScfoutFile.open(real(shared, name))
        target = tmp_path / "again.scfout"
        write_scfout(target, source.load(), version=source.version)
        fields_equal(ScfoutFile.open(target).load(), source.load())
        first, second = source.path.read_bytes(), target.read_bytes()
        assert len(first) == len(second)
        assert masked(first, source) == masked(second, source)

    def test_version_0_of_a_version_3_file(self, tmp_path):
        source = ScfoutFile.open(save(tmp_path, plain.build(spin=3, orders=2))).load()
        target = tmp_path / "old.scfout"
        with pytest.raises(errors.LossError, match=r"momentum, density_imag, .*order 1"):
            write_scfout(target, source, version=0)
        assert not target.exists()
        write_scfout(target, source, version=0, allow_lossy=True)
        found = ScfoutFile.open(target).load()
        np.testing.assert_array_equal(found.matrices["position"], source.matrices["position"][::2])
        np.testing.assert_array_equal(found.matrices["density"], source.matrices["density"])

    def test_missing_sections_are_zeros_only_when_allowed(self, tmp_path):
        source = ScfoutFile.open(save(tmp_path, plain.build())).load()
        kept = {name: source.matrices[name] for name in ("hamiltonian", "overlap")}
        predicted = replace(source, matrices=kept)
        target = tmp_path / "predicted.scfout"
        with pytest.raises(errors.MissingDataError, match="position and momentum"):
            write_scfout(target, predicted)
        write_scfout(target, predicted, zero_missing=True)
        found = ScfoutFile.open(target)
        assert not found.read("density").any()
        np.testing.assert_array_equal(found.read("hamiltonian"), kept["hamiltonian"])

    def test_integers_where_numbers_are_meant(self, tmp_path):
        source = ScfoutFile.open(save(tmp_path, plain.build())).load()
        numbers = {"chemical_potential": 0, "temperature": 300, "n_electrons": 8, "total_spin": 1}
        target = tmp_path / "integers.scfout"
        write_scfout(target, replace(source, **numbers))
        found = ScfoutFile.open(target)
        assert {name: getattr(found, name) for name in numbers} == numbers

    def test_refusals(self, tmp_path):
        source = ScfoutFile.open(save(tmp_path, plain.build())).load()
        with pytest.raises(errors.OutputError, match="exists"):
            write_scfout(tmp_path / "x.scfout", source)
        with pytest.raises(errors.UsageError, match="version 2"):
            write_scfout(tmp_path / "y.scfout", source, version=2)
        with pytest.raises(errors.UsageError, match="NUL"):
            write_scfout(tmp_path / "y.scfout", replace(source, input_text="a\0b"))
        assert not (tmp_path / "y.scfout").exists()

    @given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=600))
    def test_split_lines_keeps_every_text(self, text):
        slots = split_lines(text)
        assert len(slots) % 256 == 0
        pieces = [slots[at : at + 256] for at in range(0, len(slots), 256)]
        assert all(piece[-1] == 0 for piece in pieces)
        assert b"".join(piece.split(b"\0", 1)[0] for piece in pieces).decode() == text


class TestCutAndDamaged:
    def cuts(self, size):
        return sorted({0, 1, 23, 24, 27, 28, size - 1, *np.linspace(30, size - 2, 34, dtype=int)})

    @pytest.mark.parametrize(("version", "spin", "orders"), KINDS)
    def test_cut_anywhere(self, tmp_path, version, spin, orders):
        data = plain.build(version=version, spin=spin, orders=orders)
        for at in self.cuts(len(data)):
            path = save(tmp_path, data[:at])
            with pytest.raises(errors.FormatError, match=rf"(?s)cut|empty.*Found {at} bytes"):
                ScfoutFile.open(path)

    @pytest.mark.shared
    @pytest.mark.parametrize("name", SMALL)
    def test_real_files_cut(self, shared, tmp_path, name):
        data = real(shared, name).read_bytes()
        for at in self.cuts(len(data)):
            with pytest.raises(
                errors.FormatError, match=rf"Expected at least \d+ bytes. Found {at} by"
            ):
                ScfoutFile.open(save(tmp_path, data[:at]))

    @pytest.mark.parametrize("extra", [1, 256])
    def test_longer_than_it_says(self, tmp_path, extra):
        data = plain.build()
        with pytest.raises(errors.FormatError, match=f"Expected {len(data)} bytes. Found"):
            ScfoutFile.open(save(tmp_path, data + bytes(extra)))

    @pytest.mark.parametrize("byte", range(28))
    def test_each_header_bit(self, tmp_path, byte):
        data = plain.build()
        for bit in range(8):
            damaged = bytearray(data)
            damaged[byte] ^= 1 << bit
            path = save(tmp_path, damaged)
            tracemalloc.start()
            try:
                found = ScfoutFile.open(path)
            except errors.FormatError:
                found = None
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MEMORY_LIMIT
            # The three region counts are plain information: 0, 1 and 2 are all possible.
            assert found is None or (8 <= byte < 20 and sum(found.regions) <= 2)

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(24, 700), st.binary(min_size=1, max_size=8))
    def test_damage_anywhere_is_refused_or_harmless(self, tmp_path, at, junk):
        data = bytearray(plain.build())
        data[at : at + len(junk)] = junk
        try:
            ScfoutFile.open(save(tmp_path, data)).load()
        except errors.DockError:
            return

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"System.Name  graphene\nHS.fileout on\n", "text: 'System.Name  graphene'"),
            (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
            (bytes(200), r"the integers \[0, 0, 0"),
        ],
    )
    def test_other_files(self, tmp_path, content, found):
        with pytest.raises(errors.FormatError, match=found):
            ScfoutFile.open(save(tmp_path, content))

    @pytest.mark.parametrize("version", [1, 2])
    def test_development_versions(self, tmp_path, version):
        data = bytearray(plain.build())
        data[4] = 4 * version
        with pytest.raises(
            errors.FormatError, match=rf"version {version} .*development.*OpenMX 3\.9"
        ):
            ScfoutFile.open(save(tmp_path, data))

    @pytest.mark.parametrize("section", list(section_counts(3, 3)))
    def test_nan_in_each_section(self, tmp_path, section):
        data = bytearray(plain.build(spin=3))
        good = ScfoutFile.open(save(tmp_path, data))
        at = good.offsets[section] + 16
        data[at : at + 16] = np.array([np.nan, np.inf]).tobytes()
        bad = ScfoutFile.open(save(tmp_path, data))
        with pytest.raises(errors.FormatError, match=rf"section {section} .*Found 2 of"):
            bad.read(section)
        others = set(good.sections) - {section}
        assert all(np.isfinite(bad.read(name)).all() for name in others)

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("atv", "table of translations"),
            ("tv", "lattice vectors"),
            ("rtv", "lattice vectors"),
            ("xyz", "positions holds 1 values that are not finite"),
            ("tail", "core_dipole holds 1"),
        ],
    )
    def test_nan_outside_the_matrices(self, tmp_path, name, problem):
        data = bytearray(plain.build())
        at = places()[name]
        data[at : at + 8] = np.array([np.nan]).tobytes()
        with pytest.raises(errors.FormatError, match=problem):
            ScfoutFile.open(save(tmp_path, data))

    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("no", 0, "atom 1 has 0 orbitals"),
            ("no", 2**31 - 1, "cut"),
            ("fnan", -3, "neighbour counts"),
            ("fnan", 2**31 - 1, "cut"),
            ("natn", 3, "neighbour has atom number 3: expected 1 to 2"),
            ("natn", 0, "neighbour has atom number 0"),
            ("ncn", 3, "cell number 3: expected 0 to 2"),
            ("ncn", -1, "cell number -1"),
            ("ncn", 1, r"first neighbour of atom 1 .* cell \[-1, 0, 0\]"),
            ("ijk", 1, "table of translations"),
            ("solver", 0, "solver code is 0"),
            ("lines", -1, "number of input lines"),
            ("lines", 9, "cut"),
        ],
    )
    def test_wrong_integers(self, tmp_path, name, value, problem):
        data = bytearray(plain.build())
        at = places()[name]
        data[at : at + 4] = np.array([value], dtype="<i4").tobytes()
        with pytest.raises(errors.FormatError, match=problem):
            ScfoutFile.open(save(tmp_path, data))

    def test_first_neighbour_is_another_atom(self, tmp_path):
        pairs = [(1, 2, 0), (1, 1, 0), (2, 2, 0), (2, 1, 0)]
        with pytest.raises(errors.FormatError, match="first neighbour of atom 1 is atom 2"):
            ScfoutFile.open(save(tmp_path, plain.build(pairs=pairs)))

    @pytest.mark.parametrize(
        ("pairs", "problem"),
        [
            ([(1, 1, 0), (1, 2, 0), (1, 2, 0), (2, 2, 0), (2, 1, 0)], "1 and 2 .* stands twice"),
            ([(1, 1, 0), (1, 2, 1), (2, 2, 0), (2, 1, 1)], r"at R = \[-1, 0, 0\] has no partner"),
            ([(1, 1, 0), (2, 2, 0), (2, 1, 0)], "2 and 1 .* has no partner"),
        ],
    )
    def test_wrong_pair_lists(self, tmp_path, pairs, problem):
        with pytest.raises(errors.FormatError, match=problem):
            ScfoutFile.open(save(tmp_path, plain.build(pairs=pairs)))

    def test_lattice_contradictions(self, tmp_path):
        for name in ("atv", "rtv"):
            data = bytearray(plain.build())
            at = places()[name]
            value = np.frombuffer(data, "<f8", 1, at) + 1e-3
            data[at : at + 8] = value.tobytes()
            with pytest.raises(errors.FormatError, match=r"translations|reciprocal"):
                ScfoutFile.open(save(tmp_path, data))

    def test_matrices_in_memory_are_checked(self, tmp_path):
        source = ScfoutFile.open(save(tmp_path, plain.build())).load()
        wrong = {
            "overlap": source.matrices["overlap"][:, :-1],
            "kinetic": source.matrices["overlap"],
            "density": np.full_like(source.matrices["density"], np.nan),
        }
        for name, values in wrong.items():
            with pytest.raises(errors.LayoutError, match=name):
                replace(source, matrices={**source.matrices, name: values})
        with pytest.raises(errors.LayoutError, match="overlap"):
            replace(source, matrices={"hamiltonian": source.matrices["hamiltonian"]})
        with pytest.raises(ValueError, match="read-only"):
            source.matrices["overlap"][0, 0] = 1.0


def plain_sections(witness):
    """Flatten the plain reader's blocks into the shape of `ScfoutFile.read`."""

    def flat(matrices):
        return [np.concatenate([np.ravel(rows) for rows in one.values()]) for one in matrices]

    sections = {"hamiltonian": flat(witness["H"]), "overlap": flat([witness["S"]])}
    sections["position"] = flat([one for direction in witness["po"] for one in direction])
    sections["density"] = flat(witness["DM"])
    optional = {"hamiltonian_imag": "iH", "momentum": "mo", "density_imag": "iDM"}
    return sections | {name: flat(witness[key]) for name, key in optional.items() if witness[key]}


def places():
    """Byte offsets of the fields of the default synthetic file (2 atoms, 3 cells, 6 pairs)."""
    at = {"atv": 28 + 32 + 8}
    at["ijk"] = 28 + 3 * 32 + 16 + 4
    at["no"] = 28 + 3 * 48
    at["fnan"] = at["no"] + 8
    at["natn"] = at["fnan"] + 8
    at["ncn"] = at["natn"] + 24
    at["tv"] = at["ncn"] + 24 + 8
    at["rtv"] = at["tv"] + 96
    at["xyz"] = at["rtv"] + 96
    at["solver"] = at["xyz"] - 8 + 64 + 8 * 11 * 33
    at["tail"] = at["solver"] + 4 + 16
    at["lines"] = at["solver"] + 4 + 80
    return at


def masked(data, source):
    """Blank what may differ: unused components, stale bytes, last digits of derived vectors."""
    array = np.frombuffer(data, np.uint8).copy()
    start = 24 + 4 * (source.version == 3)
    n_cells, n_pairs, n_atoms = len(source.cells), source.n_pairs, source.n_atoms
    array[start : start + 32 * n_cells] = 0  # atv: computed from the integers
    ijk = start + 32 * n_cells
    array[ijk : ijk + 16 * n_cells].reshape(-1, 16)[:, :4] = 0
    rtv = ijk + 16 * n_cells + 8 * n_atoms + 8 * n_pairs + 96
    array[rtv : rtv + 96] = 0  # the inverse of tv
    n_lines = len(split_lines(source.input_text)) // 256
    slots = array[len(array) - 256 * n_lines :].reshape(-1, 256)
    slots[np.maximum.accumulate(slots == 0, axis=1)] = 0
    return array.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_unknown_version_is_named(bundled, tmp_path, order):
    """The second integer is 4 · version + spin."""
    content = bytearray((bundled / "openmx" / "h2o" / "h2o.scfout").read_bytes())
    head = np.frombuffer(bytes(content[:24]), "<i4").astype(f"{order}i4")
    head[1] = 4 * 4 + 1
    content[:24] = head.tobytes()
    path = tmp_path / "h2o.scfout"
    path.write_bytes(content)
    with pytest.raises(errors.FormatError, match=r"of version 4, which is not known.*version 3"):
        ScfoutFile.open(path)
