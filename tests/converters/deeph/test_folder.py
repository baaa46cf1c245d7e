"""The unified folder as a whole: lazy, complete, and consistent or refused."""

import json
import shutil

import numpy as np
import pytest
import samples
from hypothesis import HealthCheck, given, settings, strategies as st
from synthetic import hermitian_matrices, seeds

import dock
from dock.converters import ReadOptions, WriteOptions, deeph
from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.errors import FormatError, LossError, MissingDataError


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    return samples.unified(tmp_path_factory.mktemp("water") / "x", "h2o")


def edit(folder, **changes):
    path = folder / "info.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("system", ["h2o", "o2-spin", "o2-nc-soc"])
def test_written_and_read_back(bundled, tmp_path, system):
    calc = dock.read(bundled / "openmx" / system)
    files = dock.write(calc, tmp_path / "x")
    assert sorted(path.name for path in files) == samples.names(tmp_path / "x")
    assert [path.name for path in files[-2:]] == ["POSCAR", "info.json"]
    again = dock.read(tmp_path / "x")
    samples.same_matrices(calc, again)
    for name in ("fermi_level", "n_electrons", "spin"):
        assert getattr(again, name) == getattr(calc, name)
    assert again.structure.pbc == calc.structure.pbc
    np.testing.assert_array_equal(again.structure.positions, calc.structure.positions)
    origin = again.provenance
    assert (origin.code, origin.version, origin.files) == ("OpenMX", "3.9", (f"{system}.scfout",))
    # A second write of what was read gives the same bytes.
    dock.write(again, tmp_path / "y")
    assert samples.listing(tmp_path / "x") == samples.listing(tmp_path / "y")


def test_occupation_is_written(tmp_path):
    info = json.loads((samples.unified(tmp_path / "x") / "info.json").read_text())
    assert info["occupation"] == 8
    assert info["atoms_quantity"] == 2
    assert info["orbits_quantity"] == 10


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25)
@given(hermitian_matrices(), seeds)
def test_any_matrix_survives(tmp_path_factory, matrix, seed):
    """Elements in any order, shells in any order, pairs in any order, every spin."""
    calc = Calculation(
        matrix.structure, matrix.basis, matrix.spin, {"hamiltonian": matrix}, None, 3.5,
        Provenance("test", "1"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("any") / "x"
    dock.write(calc, folder)
    found = dock.read(folder)
    order = found.provenance.extra.get("source_order", list(range(matrix.structure.n_atoms)))
    samples.same_matrices(calc.permute_atoms(order), found)
    assert found.n_electrons == 3.5
    assert found.spin is matrix.spin
    elements = (folder / "POSCAR").read_text().splitlines()[5].split()
    assert elements == list(dict.fromkeys(matrix.structure.symbols))


def test_all_files_get_the_same_pairs(bundled, tmp_path):
    """H on fewer pairs than S is written on S's: other programs assert it."""
    calc = dock.read(bundled / "openmx" / "si")
    H, S = calc.require("H"), calc.require("S")
    near = np.flatnonzero(np.abs(H.pairs.R).max(axis=1) <= 1)
    less = calc.replace(matrices={"H": H.take_pairs(near[::-1]), "S": S})
    dock.write(less, tmp_path / "x")
    found = dock.read(tmp_path / "x")
    assert found.require("H").pairs.is_same(found.require("S").pairs)
    samples.same_matrices(less, found)


def test_chosen_matrices_and_none(bundled, tmp_path):
    calc = dock.read(bundled / "openmx" / "si")
    dock.write(calc, tmp_path / "x", options=WriteOptions(quantities=("H", "S", "H")))
    assert samples.names(tmp_path / "x") == ["POSCAR", "hamiltonian.h5", "info.json", "overlap.h5"]
    dock.write(calc.replace(matrices={}), tmp_path / "y")
    assert samples.names(tmp_path / "y") == ["POSCAR", "info.json"]
    assert dock.read(tmp_path / "y").available == ()


class TestDisagreement:
    @pytest.fixture
    def folder(self, tmp_path):
        return samples.unified(tmp_path / "x")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"atoms_quantity": 3}, "atoms_quantity"),
            ({"orbits_quantity": 12}, "orbits_quantity"),
            ({"elements_orbital_map": {"C": [0, 0, 1]}}, "elements of POSCAR are missing: Si"),
            ({"elements_orbital_map": {"Si": [0, 1, 1]}}, "info.json and POSCAR disagree"),
        ],
    )
    def test_info_and_poscar(self, folder, changes, words):
        edit(folder, **changes)
        with pytest.raises(FormatError, match=words) as caught:
            dock.read(folder)
        assert str(folder / "info.json") in str(caught.value)

    def test_poscar_of_another_structure(self, folder, bundled, tmp_path):
        other = samples.unified(tmp_path / "o", "h2o")
        (folder / "POSCAR").write_bytes((other / "POSCAR").read_bytes())
        with pytest.raises(FormatError, match="different structures"):
            dock.read(folder)

    @pytest.mark.parametrize("name", ["POSCAR", "info.json"])
    def test_absent(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(MissingDataError, match=name):
            deeph.FORMAT.read(folder, ReadOptions())

    @pytest.mark.parametrize(
        "own",
        [
            {"spin": ["none"]},
            {"spin": 3, "pbc": "yes", "species": {"a": 1}},
            {"pbc": [1, 0]},
            {"species": ["Si"]},
            {"source_order": [5, 6]},
            {"source_order": ["a", None]},
            {"source_order": [0, 0], "provenance": []},
            {"provenance": {"extra": 7, "files": "x", "code": None}},
        ],
    )
    def test_own_facts_that_somebody_edited_do_no_harm(self, folder, tmp_path, own):
        edit(folder, dock=own)
        calc = dock.read(folder)
        assert calc.require("H").entries.size
        dock.write(calc, tmp_path / "again")
        assert "source_order" not in dock.read(tmp_path / "again").provenance.extra
        dock.write(calc, tmp_path / "run", "openmx")


def test_more_bases_of_one_element_than_custom_names(tmp_path):
    from dock.core.basis import Basis
    from dock.core.structure import Structure

    labels = [f"C{n}" for n in range(8)]
    structure = Structure(
        np.eye(3) * 9, np.arange(24).reshape(8, 3) * 0.3, [6] * 8, labels=tuple(labels)
    )
    basis = Basis.from_ls({label: [0] * (n + 1) for n, label in enumerate(labels)}, labels)
    calc = Calculation(structure, basis, Spin.NONE, {})
    with pytest.raises(LossError, match="more than 6"):
        dock.write(calc, tmp_path / "x", options=WriteOptions(allow_lossy=True))
    assert list(tmp_path.iterdir()) == []


def test_detection(tmp_path):
    folder = samples.unified(tmp_path / "x")
    detect = deeph.FORMAT.detect
    assert detect(folder) == folder
    assert detect(folder / "hamiltonian.h5") == folder / "hamiltonian.h5"
    (folder / "band.h5").touch()
    assert detect(folder / "band.h5") is None
    assert detect(folder / "POSCAR") is None
    (folder / "hamiltonian_x.h5").touch()
    assert folder / "hamiltonian_x.h5" in deeph.FORMAT.inputs(folder / "hamiltonian_x.h5")
    (folder / "info.json").unlink()
    assert detect(folder) is None
    assert detect(tmp_path / "nothing") is None


@given(st.sampled_from(["POSCAR", "info.json"]), st.integers(0, 2**30), st.integers(0, 7))
def test_damaged_text_files(water, tmp_path_factory, name, place, bit):
    folder = shutil.copytree(water, tmp_path_factory.mktemp("text") / "x")
    path = folder / name
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        calc = dock.read(folder)
        for quantity in calc.available:
            calc.require(quantity)
    except dock.DockError as error:
        samples.named(error, folder)
