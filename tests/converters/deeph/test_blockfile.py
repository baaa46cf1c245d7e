"""Block files: the variants of other programs, our attributes, and damaged files."""

import h5py
import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

import dock
from dock.converters.deeph.blockfile import read_attributes, read_matrix, write_matrix
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, MissingDataError

SYSTEMS = {"h2o": Spin.NONE, "o2-spin": Spin.COLLINEAR, "o2-nc-soc": Spin.NONCOLLINEAR}
DATASETS = ["atom_pairs", "chunk_boundaries", "chunk_shapes", "entries"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("unified")
    return {name: samples.unified(root / name, name) for name in SYSTEMS}


@pytest.fixture
def si(tmp_path):
    return samples.unified(tmp_path / "si")


def error_of(folder, quantity="H"):
    with pytest.raises(DockError) as caught:
        dock.read(folder).require(quantity)
    return str(caught.value)


class TestLayout:
    @pytest.mark.parametrize("system", SYSTEMS)
    def test_as_the_format_has_it(self, folders, system):
        """Four datasets, contiguous, int64, doubled blocks [[uu, ud], [du, dd]] for spin."""
        calc = dock.read(folders[system])
        spin, counts = calc.spin, calc.basis.counts
        for name, factor in (("overlap", 1), ("hamiltonian", 1 + (spin is not Spin.NONE))):
            matrix = calc.require(name)
            with h5py.File(folders[system] / f"{name}.h5") as file:
                assert list(file) == DATASETS
                assert all(file[key].chunks is None for key in DATASETS)
                assert {file[key].dtype for key in DATASETS[:3]} == {np.dtype(np.int64)}
                pairs, entries = file["atom_pairs"][()], file["entries"][()]
                shapes, bounds = file["chunk_shapes"][()], file["chunk_boundaries"][()]
            complex_ = spin is Spin.NONCOLLINEAR and factor == 2
            assert entries.dtype == (np.complex128 if complex_ else np.float64)
            np.testing.assert_array_equal(shapes, factor * counts[pairs[:, 3:]])
            np.testing.assert_array_equal(np.diff(bounds), shapes.prod(axis=1))
            for index, (*R, i, j) in enumerate(pairs.tolist()):
                stored = entries[bounds[index] : bounds[index + 1]].reshape(shapes[index])
                block = matrix.block(R, i, j)
                if factor == 2:
                    parts = np.zeros((4, *block.shape[1:]), dtype=block.dtype)
                    parts[[0, 3] if len(block) == 2 else [0, 1, 2, 3]] = block
                    block = np.block([[parts[0], parts[1]], [parts[2], parts[3]]])
                np.testing.assert_array_equal(stored, block)

    def test_position_has_three_rows(self, folders):
        with h5py.File(folders["h2o"] / "position_matrix.h5") as file:
            assert file["entries"].shape == (3, file["chunk_boundaries"][-1])

    def test_attributes(self, folders):
        found = read_attributes(folders["o2-spin"] / "density_matrix.h5")
        assert found["quantity"] == "density_matrix"
        assert (found["unit"], found["spin"]) == ("1", "collinear")
        assert "Tr(rho_uu S) + Tr(rho_dd S)" in found["spin_sum"]
        assert found["source_code"] == "OpenMX 3.9"
        assert read_attributes(folders["h2o"] / "hamiltonian.h5")["unit"] == "eV"
        assert "both spins" in read_attributes(folders["h2o"] / "density_matrix.h5")["spin_sum"]

    def test_attributes_are_strings_of_fixed_length(self, folders):
        """The library's heap for others searches for ever over one wrong bit."""
        with h5py.File(folders["h2o"] / "overlap.h5") as file:
            for name in file.attrs:
                assert file.attrs.get_id(name).dtype.kind == "S", name

    def test_single_precision(self, folders, tmp_path):
        for system in SYSTEMS:
            calc = dock.read(folders[system])
            options = dock.converters.WriteOptions(single_precision=True)
            dock.write(calc, tmp_path / system, options=options)
            again = dock.read(tmp_path / system)
            assert again.require("H").entries.dtype.itemsize == 4 * (
                2 if again.spin is Spin.NONCOLLINEAR else 1
            )
            samples.same_matrices(calc, again, 2e-7)


class TestVariants:
    """What other programs write must read as the same calculation."""

    @pytest.mark.parametrize("system", SYSTEMS)
    @pytest.mark.parametrize("kind", ["plain", "int32", "single", "complex", "shuffled", "chunked"])
    def test_same_content(self, tmp_path, system, kind, rng):
        folder = samples.foreign(tmp_path / "x", system)
        original = dock.read(samples.unified(tmp_path / "ours", system))
        for file in folder.glob("*.h5"):
            self.change(file, kind, rng)
        found = dock.read(folder)
        assert found.spin is SYSTEMS[system]
        samples.same_matrices(original, found, 2e-7 if kind == "single" else 0.0)

    @staticmethod
    def change(file, kind, rng):
        if kind == "int32":
            samples.rewrite(file, **dict.fromkeys(DATASETS[:3], lambda old: old.astype(np.int32)))
        elif kind == "single":
            narrow = {"f": np.float32, "c": np.complex64}
            samples.rewrite(file, entries=lambda old: old.astype(narrow[old.dtype.kind]))
        elif kind == "complex" and file.name in ("hamiltonian.h5", "density_matrix.h5"):
            samples.rewrite(file, entries=lambda old: old.astype(np.complex128))
        elif kind == "shuffled":
            with h5py.File(file) as h5:
                pairs, bounds = h5["atom_pairs"][()], h5["chunk_boundaries"][()]
                shapes, entries = h5["chunk_shapes"][()], h5["entries"][()]
            order = rng.permutation(len(pairs))
            blocks = [entries[..., bounds[pair] : bounds[pair + 1]] for pair in order]
            samples.rewrite(
                file,
                atom_pairs=pairs[order],
                chunk_shapes=shapes[order],
                chunk_boundaries=np.concatenate([[0], np.cumsum(np.diff(bounds)[order])]),
                entries=np.concatenate(blocks, axis=-1),
            )
        elif kind == "chunked":
            with h5py.File(file, "r+") as h5:
                entries = h5["entries"][()]
                del h5["entries"]
                h5.create_dataset("entries", data=entries, compression="gzip", shuffle=True)

    def test_collinear_data_as_the_aims_converter_writes_them(self, tmp_path):
        """complex128 with zero up-down parts is collinear; one entry there makes it a spinor."""
        folder = samples.foreign(tmp_path / "x", "o2-spin")
        for name in ("hamiltonian", "density_matrix"):
            samples.rewrite(folder / f"{name}.h5", entries=lambda old: old.astype(np.complex128))
        found = dock.read(folder)
        assert found.spin is Spin.COLLINEAR
        assert not found.require("H").is_complex
        for value in (1e-6, 1e-6j):

            def mix(old, value=value):
                old[13] = value  # first row, first column of the up-down part: 13 orbitals
                return old

            samples.rewrite(folder / "hamiltonian.h5", entries=mix)
            assert dock.read(folder).spin is Spin.NONCOLLINEAR

    def test_unknown_keys_and_no_fermi_level(self, tmp_path):
        folder = samples.foreign(tmp_path / "x")
        text = (folder / "info.json").read_text()
        text = text.replace("{", '{"basis": "x", "max_num_neighbors": 3, ', 1)
        (folder / "info.json").write_text(
            text.replace('"fermi_energy_eV": -1.9300816070404772', '"fermi_energy_eV": null')
        )
        found = dock.read(folder)
        assert found.fermi_level is None
        assert found.provenance.code == "unknown"

    def test_prediction_beside_and_alone(self, tmp_path):
        folder = samples.foreign(tmp_path / "x")
        pred = folder / "hamiltonian_pred.h5"
        pred.write_bytes((folder / "hamiltonian.h5").read_bytes())
        samples.rewrite(pred, entries=lambda old: (old + 1).astype(np.float32))
        exact = dock.read(folder).require("H").entries
        for path in (pred, folder / "hamiltonian.h5"):
            offset = 1.0 if path == pred else 0.0
            found = dock.read(path).require("H").entries
            np.testing.assert_allclose(found, exact + offset, atol=1e-5)
        (folder / "hamiltonian.h5").unlink()
        np.testing.assert_allclose(dock.read(folder).require("H").entries, exact + 1, atol=1e-5)
        other = pred.rename(folder / "my_hamiltonian_7.h5")
        np.testing.assert_allclose(dock.read(other).require("H").entries, exact + 1, atol=1e-5)


class TestContradictions:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"atom_pairs": lambda a: a[:-1]}, "chunk_shapes"),
            ({"atom_pairs": lambda a: a[:, :4]}, "any × 5"),
            ({"atom_pairs": lambda a: a.astype(float)}, "integers"),
            ({"atom_pairs": lambda a: np.add(a, [0, 0, 0, 0, 7])}, "atom index j"),
            ({"atom_pairs": lambda a: a - [0, 0, 0, 1, 0]}, "atom index i"),
            ({"atom_pairs": lambda a: np.add(a, [2**40, 0, 0, 0, 0])}, "atom_pairs"),
            ({"atom_pairs": lambda a: np.vstack([a[1:2], a[1:]])}, "twice"),
            ({"chunk_shapes": lambda a: a[:, ::-1] + [1, 0]}, "6×5"),
            ({"chunk_boundaries": lambda a: a + 1}, "boundaries"),
            ({"chunk_boundaries": lambda a: a[::-1]}, "boundaries"),
            ({"chunk_boundaries": lambda a: a[:-1]}, "wrong length"),
            ({"entries": lambda a: a[:-1]}, "wrong length"),
            ({"entries": lambda a: a[None]}, "wrong length"),
            ({"entries": lambda a: a.astype("S8")}, "numbers"),
            ({"entries": lambda a: a + 1e-6j}, "should be real"),
            ({"entries": None}, "datasets are missing: entries"),
        ],
    )
    def test_datasets(self, si, changes, words):
        samples.rewrite(si / "hamiltonian.h5", **changes)
        message = error_of(si)
        assert words in message
        assert str(si / "hamiltonian.h5") in message

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("system", SYSTEMS)
    def test_values_that_are_not_finite(self, tmp_path, system, value):
        folder = samples.foreign(tmp_path / "x", system)

        def spoil(old):
            old[[3, -1]] = value
            return old

        samples.rewrite(folder / "hamiltonian.h5", entries=spoil)
        assert "2 NaN or infinite values of" in error_of(folder)

    def test_huge_values_are_no_reason_to_refuse(self, si):
        samples.rewrite(si / "hamiltonian.h5", entries=lambda old: np.full_like(old, 1e308))
        assert dock.read(si).require("H").entries.max() == 1e308

    def test_a_group_where_a_dataset_should_be(self, si):
        samples.rewrite(si / "hamiltonian.h5", entries=None)
        with h5py.File(si / "hamiltonian.h5", "r+") as file:
            file.create_group("entries")
        assert "expected a dataset" in error_of(si).lower()

    def test_another_matrix_under_this_name(self, si):
        (si / "hamiltonian.h5").write_bytes((si / "overlap.h5").read_bytes())
        assert "Expected hamiltonian. Found overlap" in error_of(si)
        with h5py.File(si / "hamiltonian.h5", "r+") as file:
            file.attrs["quantity"] = [1, 2, 3]
        assert "another matrix" in error_of(si)

    def test_spinful_that_is_wrong(self, tmp_path):
        folder = samples.foreign(tmp_path / "x")
        info = folder / "info.json"
        info.write_text(info.read_text().replace('"spinful": false', '"spinful": true'))
        message = error_of(folder)
        assert "10×10 from info.json with spin" in message
        assert "'spinful' is wrong" in message

    def test_legacy_files_are_pointed_at(self, si):
        with h5py.File(si / "hamiltonian.h5", "w") as file:
            file["[0, 0, 0, 1, 1]"] = np.eye(5)
        assert "format='deeph-legacy'" in error_of(si)

    def test_absent_empty_foreign(self, si):
        path = si / "hamiltonian.h5"
        calc = dock.read(si)
        for content in (b"", b"CDF\x01", b"x" * 5000):
            path.write_bytes(content)
            assert str(path) in error_of(si)
        path.unlink()
        with pytest.raises(MissingDataError, match=r"hamiltonian\.h5 is missing"):
            calc.require("H")


@settings(max_examples=150)
@given(st.data())
def test_damage_anywhere_is_a_message_or_a_number(folders, tmp_path_factory, data):
    """No flipped bit, cut or hole brings anything but an error that names the file."""
    system = data.draw(st.sampled_from(sorted(SYSTEMS)))
    source = folders[system]
    file = data.draw(st.sampled_from(["overlap.h5", "hamiltonian.h5", "position_matrix.h5"]))
    content = bytearray((source / file).read_bytes())
    at = data.draw(st.integers(0, min(len(content), 4000) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "hole"]))
    if kind == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    else:
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    damaged = tmp_path_factory.mktemp("damaged") / file
    damaged.write_bytes(content)
    calc = dock.read(source)
    quantity = {"position_matrix.h5": "position"}.get(file, file.removesuffix(".h5"))
    try:
        read_matrix(damaged, quantity, calc.structure, calc.basis, calc.spin)
    except DockError as error:
        samples.named(error, damaged)


def test_write_is_atomic_and_refuses(si, tmp_path):
    matrix = dock.read(si).require("H")
    target = tmp_path / "h.h5"
    write_matrix(target, matrix, {"quantity": "hamiltonian", "note": "", "n": 3})
    assert read_attributes(target)["n"] == 3
    before = target.read_bytes()
    with pytest.raises(dock.DockError, match="exists"):
        write_matrix(target, matrix, {})
    assert target.read_bytes() == before
    write_matrix(target, matrix, {"quantity": "hamiltonian", "note": "", "n": 3}, overwrite=True)
    assert target.read_bytes() == before  # no dates inside: the same bytes each time
    with pytest.raises(FormatError, match=r"h\.h5"):
        read_matrix(target, "overlap", matrix.structure, matrix.basis, matrix.spin)
    assert samples.names(tmp_path) == ["h.h5", "si"]
