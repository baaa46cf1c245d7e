"""The layouts of 2025 and 2026: split H, expanded overlaps, collinear blocks one above another."""

import json
import logging
import shutil

import h5py
import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st
from synthetic import random_case, random_hermitian, random_position, seeds

import dock
from dock.converters import WriteOptions
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, MissingDataError, UsageError

TWINS = {
    "o2_soc_split": ("o2_soc", "split-hkb"),
    "o2_soc_expanded": ("o2_soc", "expanded"),
    "o2_collinear_stacked": ("o2_collinear", "stacked"),
}


@pytest.fixture(scope="module")
def deeph():
    return samples.ROOT / "fixtures" / "deeph"


def copied(source, target, **changes):
    """A copy whose info.json has other keys; None takes one out."""
    shutil.copytree(source, target)
    path = target / "info.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: x for key, x in content.items() if x is not None}))
    return target


def datasets(file):
    with h5py.File(file) as h5:
        return {name: h5[name][()] for name in h5}


def levels(calc, n_spin=2):
    H, S = (KBuilder(calc.require(name)).dense([0.1, 0.2, 0.3]) for name in ("H", "S"))
    from scipy.linalg import eigh

    return eigh(H, np.kron(np.eye(n_spin), S), eigvals_only=True)


@pytest.fixture
def folder(deeph, tmp_path):
    """A copy of the folder of O2 with spin–orbit coupling whose H is split."""
    return copied(deeph / "o2_soc_split", tmp_path / "x")


class TestReading:
    @pytest.mark.parametrize("name", TWINS)
    def test_the_same_as_the_plain_twin(self, deeph, name):
        plain, found = dock.read(deeph / TWINS[name][0]), dock.read(deeph / name)
        assert found.spin is plain.spin
        for quantity in plain.available:
            one, two = plain.require(quantity), found.require(quantity)
            assert one.pairs.is_same(two.pairs)
            assert np.array_equal(one.entries, two.entries), quantity

    def test_levels_of_a_split_hamiltonian(self, deeph):
        found, plain = (levels(dock.read(deeph / name)) for name in ("o2_soc_split", "o2_soc"))
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)

    def test_without_the_nonlocal_part_levels_are_off(self, deeph, tmp_path):
        """What a folder gave whose 'spinful' was changed, as the old message advised."""
        changes = {"split_hkb": None, "spinful": False}
        local = dock.read(copied(deeph / "o2_soc_split", tmp_path / "x", **changes))
        twice = np.repeat(levels(local, 1), 2)
        assert np.abs(twice - levels(dock.read(deeph / "o2_soc"))).max() > 1

    def test_a_position_of_both_spins_beside_a_split_hamiltonian(self, deeph, folder):
        """Of an overlap it would be an error; nothing is said of what HPRO writes beside it."""
        shutil.copy(deeph / "o2_soc_expanded" / "position_matrix.h5", folder)
        found, plain = (
            dock.read(x).require("position") for x in (folder, deeph / "o2_soc_expanded")
        )
        assert np.array_equal(found.entries, plain.entries)

    def test_the_older_key(self, deeph, tmp_path):
        folder = copied(
            deeph / "o2_soc_split",
            tmp_path / "x",
            split_hkb=None,
            hamiltonian_storage="spinless_plus_hkb",
        )
        samples.same_matrices(dock.read(deeph / "o2_soc"), dock.read(folder))
        both = copied(deeph / "o2_soc", tmp_path / "y", split_hkb=False, hamiltonian_storage="full")
        samples.same_matrices(dock.read(deeph / "o2_soc"), dock.read(both))

    def test_spin_treatment_with_four_quadrants(self, deeph, tmp_path):
        folder = copied(deeph / "o2_collinear", tmp_path / "x", spin_treatment="collinear")
        samples.same_matrices(dock.read(deeph / "o2_collinear"), dock.read(folder))
        mixed = copied(deeph / "o2_soc", tmp_path / "y", spin_treatment="collinear")
        with pytest.raises(FormatError, match="collinear"):
            dock.read(mixed).require("H")


SPLIT_FAULTS = {
    "no boolean": ({"split_hkb": "yes"}, "split_hkb.*true or false.*yes"),
    "number": ({"split_hkb": 1}, "split_hkb.*true or false"),
    "unknown word": ({"hamiltonian_storage": "half"}, "how H is stored.*half"),
    "no word": ({"hamiltonian_storage": None, "split_hkb": 0}, "true or false"),
    "disagree": ({"hamiltonian_storage": "full"}, "two keys disagree"),
    "spinless": ({"spinful": False}, "needs 'spinful'.*nonlocal part"),
    "collinear too": ({"spin_treatment": "collinear"}, "a split H is non-collinear"),
}


class TestFaults:
    @pytest.mark.parametrize("fault", SPLIT_FAULTS)
    def test_keys_of_a_split_hamiltonian(self, deeph, tmp_path, fault):
        changes, words = SPLIT_FAULTS[fault]
        folder = copied(deeph / "o2_soc_split", tmp_path / "x", **changes)
        with pytest.raises(FormatError, match=words) as caught:
            dock.read(folder)
        samples.named(caught.value, folder / "info.json")

    def test_no_hkb(self, folder):
        (folder / "hkb.h5").unlink()
        with pytest.raises(MissingDataError, match=r"hkb\.h5 is missing.*split_hkb"):
            dock.read(folder)
        samples.refused(samples.cli("bands", folder), "hkb.h5 is missing")

    @pytest.mark.parametrize("file", ["hkb.h5", "overlap.h5"])
    def test_other_pairs_and_another_order(self, folder, file):
        with h5py.File(folder / file) as h5:
            order = np.arange(len(h5["atom_pairs"]))[::-1]
        samples.rewrite(folder / file, atom_pairs=lambda pairs: pairs[order])
        with pytest.raises(FormatError, match="another order") as caught:
            dock.read(folder).require("H")
        samples.named(caught.value, folder / file)
        samples.rewrite(folder / file, atom_pairs=lambda pairs: pairs + np.array([9, 0, 0, 0, 0]))
        with pytest.raises(FormatError, match=r"same pairs in the same order.*only in the first"):
            dock.read(folder).require("H")

    def test_expanded_overlap(self, deeph, folder):
        shutil.copy(deeph / "o2_soc_expanded" / "overlap.h5", folder)
        with pytest.raises(FormatError, match=r"where H is split.*overlap.*without spin"):
            dock.read(folder).require("S")

    def test_local_part_that_is_complex(self, folder):
        """To change 'spinful' would be the way to H without its nonlocal part."""
        samples.rewrite(folder / "hamiltonian.h5", entries=lambda values: values + 1e-3j)
        with pytest.raises(FormatError, match="should be real") as caught:
            dock.read(folder).require("H")
        assert "spinful" not in str(caught.value)

    def test_nonlocal_part_without_spin(self, folder):
        shutil.copy(folder / "hamiltonian.h5", folder / "hkb.h5")
        with pytest.raises(FormatError, match="nonlocal part of a split H has blocks of both") as e:
            dock.read(folder).require("H")
        samples.named(e.value, folder / "hkb.h5")

    def test_full_hamiltonian_that_is_said_to_be_split(self, deeph, folder):
        shutil.copy(deeph / "o2_soc" / "hamiltonian.h5", folder)
        with pytest.raises(FormatError, match=r"both spins.*local part"):
            dock.read(folder).require("H")

    def test_split_that_is_not_declared(self, deeph, tmp_path):
        """The advice must not lead to an H without its nonlocal part."""
        folder = copied(deeph / "o2_soc_split", tmp_path / "x", split_hkb=None)
        with pytest.raises(FormatError, match=r'"split_hkb": true\. Do not change') as caught:
            dock.read(folder)
        assert "'spinful' is wrong" not in str(caught.value)

    def test_hkb_that_is_not_declared(self, deeph, tmp_path, caplog):
        folder = copied(deeph / "o2_soc", tmp_path / "x")
        shutil.copy(deeph / "o2_soc_split" / "hkb.h5", folder)
        with caplog.at_level(logging.WARNING, "dock"):
            found = dock.read(folder)
        assert "hkb.h5: ignored" in caplog.text
        samples.same_matrices(dock.read(deeph / "o2_soc"), found)

    def test_parts_do_not_pass_for_the_whole(self, deeph, tmp_path):
        """A part that dock wrote says so: changing 'spinful' does not make an H of it."""
        calc = dock.read(deeph / "o2_soc_split")
        dock.write(calc, tmp_path / "x", settings={"layout": "split-hkb"})
        changes = {"split_hkb": None, "spinful": False, "dock": None}
        folder = copied(tmp_path / "x", tmp_path / "y", **changes)
        with pytest.raises(FormatError, match="one part of a split H"):
            dock.read(folder).require("H")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"spin_treatment": "helical"}, "treatment of spin is unknown.*helical"),
            ({"spin_treatment": "collinear", "spinful": False}, "needs 'spinful'"),
            ({"spin_treatment": None}, "spin_treatment.*collinear"),
        ],
    )
    def test_spin_treatment(self, deeph, tmp_path, changes, words):
        folder = copied(deeph / "o2_collinear_stacked", tmp_path / "x", **changes)
        with pytest.raises(FormatError, match=words):
            dock.read(folder)

    def test_noncollinear_that_is_said_to_be_collinear(self, deeph, tmp_path):
        folder = copied(deeph / "o2_soc", tmp_path / "x", spin_treatment="collinear")
        with pytest.raises(FormatError, match=r"'spin_treatment' or 'dock\.spin' in info\.json"):
            dock.read(folder).require("H")

    def test_stacked_and_quadrants_in_one_file(self, deeph, tmp_path):
        folder = copied(deeph / "o2_collinear_stacked", tmp_path / "x")
        with h5py.File(folder / "hamiltonian.h5", "r+") as file:
            file["chunk_shapes"][1, 1] *= 2
        with pytest.raises(FormatError, match="several layouts are mixed"):
            dock.read(folder).require("H")

    def test_expanded_without_spin(self, deeph, tmp_path):
        folder = copied(deeph / "o2_soc_expanded", tmp_path / "x", spinful=False)
        with pytest.raises(FormatError, match="both spins: 'spinful'"):
            dock.read(folder).require("S")

    @pytest.mark.parametrize("file", ["overlap.h5", "position_matrix.h5"])
    @pytest.mark.parametrize("place", [(0, 1), (0, 6), (6, 1), (6, 6)])
    def test_expanded_that_is_not(self, deeph, tmp_path, file, place):
        """Another down–down part, or something between up and down, in one block alone."""
        folder = copied(deeph / "o2_soc_expanded", tmp_path / "x")
        name = {"overlap.h5": "S", "position_matrix.h5": "r"}[file]
        calc = dock.read(folder)

        def change(entries, size):
            block = entries[..., 300:400].reshape(*entries.shape[:-1], 10, 10)  # pair 3
            block[(..., *place)] += size
            return entries

        samples.rewrite(folder / file, entries=lambda entries: change(entries, 1e-15))
        found = dock.read(folder).require(name)
        np.testing.assert_allclose(found.entries, calc.require(name).entries, rtol=0, atol=2e-15)
        samples.rewrite(folder / file, entries=lambda entries: change(entries, 1e-4))
        with pytest.raises(FormatError, match="both spins, but are not the same") as caught:
            dock.read(folder).require(name)
        assert calc.require(name).pairs.describe(3) in str(caught.value)

    def test_mixture(self, deeph, tmp_path):
        folder = copied(deeph / "o2_soc_expanded", tmp_path / "x")

        def change(shapes):
            shapes[5] //= 2
            return shapes

        samples.rewrite(folder / "overlap.h5", chunk_shapes=change)
        with pytest.raises(FormatError, match="are mixed") as caught:
            dock.read(folder).require("S")
        pairs = dock.read(deeph / "o2_soc").require("S").pairs
        assert pairs.describe(5) in str(caught.value)

    @pytest.mark.parametrize("version", ["2.0", "0.9", 2, "new"])
    def test_version_of_the_format(self, deeph, tmp_path, version):
        folder = copied(deeph / "o2_soc", tmp_path / "x", dock={"format_version": version})
        with pytest.raises(FormatError, match=f"version of the format.*1.0 to.*{version}"):
            dock.read(folder)
        plain = copied(deeph / "o2_soc", tmp_path / "y", dock={"format_version": "1.7"})
        with h5py.File(plain / "overlap.h5", "r+") as file:
            file.attrs["dock_format_version"] = str(version)
        calc = dock.read(plain)
        assert calc.require("H").entries.size
        with pytest.raises(FormatError, match="version of the format"):
            calc.require("S")

    @pytest.mark.parametrize("place", ["/", "entries"])
    def test_another_unit(self, deeph, tmp_path, place):
        folder = copied(deeph / "o2_soc", tmp_path / "x")
        with h5py.File(folder / "hamiltonian.h5", "r+") as file:
            file[place].attrs["units"] = "Hartree"
        with pytest.raises(FormatError, match=r"unit.*eV.*Hartree"):
            dock.read(folder).require("H")


class TestWriting:
    @pytest.mark.parametrize("name", TWINS)
    def test_round_trips_are_exact(self, deeph, tmp_path, name):
        """2026 → plain as the plain twin; and → 2026 again, to the bit."""
        twin, layout = TWINS[name]
        dock.write(dock.read(deeph / name), tmp_path / "plain")
        dock.write(dock.read(deeph / name), tmp_path / "same", settings={"layout": layout})
        dock.write(dock.read(tmp_path / "plain"), tmp_path / "back", settings={"layout": layout})
        expected = {"plain": deeph / twin, "same": deeph / name}
        expected |= {} if layout == "split-hkb" else {"back": deeph / name}
        for made, source in expected.items():
            files = [file for file in source.glob("*.h5") if file.name != "hamiltonian_init.h5"]
            for file in files:
                for key, values in datasets(file).items():
                    found = datasets(tmp_path / made / file.name)[key]
                    assert np.array_equal(found, values), (made, file.name, key)
        samples.same_matrices(dock.read(tmp_path / "plain"), dock.read(tmp_path / "back"), 1e-14)
        content = json.loads((tmp_path / "plain" / "info.json").read_text())
        assert {"split_hkb", "hamiltonian_storage", "spin_treatment"}.isdisjoint(content)
        assert content["dock"]["format_version"] == "1.0"
        content = json.loads((tmp_path / "same" / "info.json").read_text())
        assert content["dock"]["format_version"] == "1.1"

    @settings(max_examples=12)
    @given(seeds, st.sampled_from(list(TWINS.values())))
    def test_any_calculation(self, tmp_path_factory, seed, twin):
        layout = twin[1]
        spin = Spin.COLLINEAR if layout == "stacked" else Spin.NONCOLLINEAR
        H = random_case(seed, spin)
        parts = (np.random.default_rng(seed), H.structure, H.basis, H.pairs)
        matrices = {"hamiltonian": H}
        matrices["overlap"] = random_hermitian(*parts, quantity="overlap")
        matrices["position"] = random_position(parts[0], matrices["overlap"])
        calc = Calculation(H.structure, H.basis, spin, matrices)
        place = tmp_path_factory.mktemp("any")
        dock.write(calc, place / "plain")
        plain = dock.read(place / "plain")
        dock.write(plain, place / "new", settings={"layout": layout})
        samples.same_matrices(plain, dock.read(place / "new"), 1e-14)

    def test_option_of_the_command_line(self, deeph, tmp_path):
        words = ("--from", "deeph", "--split-hkb")
        answer = samples.cli("convert", deeph / "o2_soc_split", *words, "-o", tmp_path / "x")
        assert answer.code == 0, answer
        assert json.loads((tmp_path / "x" / "info.json").read_text())["split_hkb"] is True
        answer = samples.cli("convert", deeph / "o2_soc", *words, "-o", tmp_path / "y")
        assert answer.code == 0
        assert "which part of H is nonlocal is not known" in answer.err
        answer = samples.cli("convert", deeph / "o2_collinear", *words, "-o", tmp_path / "z")
        samples.refused(answer, "'split-hkb' is for noncollinear spin", "collinear")
        assert not (tmp_path / "z").exists()

    @pytest.mark.parametrize(
        ("name", "layout"),
        [("o2_soc", "stacked"), ("o2_collinear", "split-hkb"), ("o2_soc", "folded")],
    )
    def test_layouts_that_do_not_fit(self, deeph, tmp_path, name, layout):
        with pytest.raises(UsageError, match=layout):
            dock.write(dock.read(deeph / name), tmp_path / "x", settings={"layout": layout})
        only = WriteOptions(quantities=("S",), settings={"layout": "split-hkb"})
        with pytest.raises(UsageError, match="no H"):
            dock.write(dock.read(deeph / "o2_soc"), tmp_path / "x", options=only)
        assert not (tmp_path / "x").exists()

    def test_no_spin_is_not_expanded(self, bundled, tmp_path):
        calc = dock.read(bundled / "unified" / "si")
        with pytest.raises(UsageError, match="expanded"):
            dock.write(calc, tmp_path / "x", settings={"layout": "expanded"})

    def test_split_without_its_hamiltonian_stays_split(self, deeph, tmp_path, folder):
        """What a prediction of the local part starts from."""
        (folder / "hamiltonian.h5").unlink()
        assert "whose other part is not there" in samples.cli("info", folder).out
        with pytest.raises(UsageError, match="cannot be written in the layout 'expanded'"):
            dock.write(dock.read(folder), tmp_path / "y", settings={"layout": "expanded"})
        dock.write(dock.read(folder), tmp_path / "y")
        info = json.loads((tmp_path / "y" / "info.json").read_text())
        assert (info["split_hkb"], info["dock"]["format_version"]) == (True, "1.1")
        assert (tmp_path / "y" / "hkb.h5").read_bytes() == (folder / "hkb.h5").read_bytes()
        prediction = tmp_path / "y" / "hamiltonian_pred.h5"
        shutil.copy(deeph / "o2_soc_split" / "hamiltonian.h5", prediction)
        H = dock.read(deeph / "o2_soc").require("H")
        assert np.array_equal(dock.read(tmp_path / "y").require("H").entries, H.entries)
        shutil.copy(deeph / "o2_soc" / "hamiltonian.h5", prediction)
        assert np.array_equal(dock.read(tmp_path / "y").require("H").entries, H.entries)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["B1", "B2", "B5", "B6", "C1", "C4", "D1"])
def test_cases_of_2026(shared, name):
    root = shared / "cases" / "K12-deeph-2026"
    folder = next(root.glob(f"{name}_*"))
    if name in ("B5", "B6"):
        samples.refused(samples.cli("bands", folder), "split_hkb" if name == "B5" else "hkb.h5")
        answer = samples.cli("check", folder)
        assert (answer.code, "1 with errors" in answer.out) == (2, True)
        return
    plain = dock.read(next(root.glob("D0_*" if name == "D1" else "B0_*")))
    found = dock.read(folder)
    for quantity in plain.available:
        assert np.array_equal(found.require(quantity).entries, plain.require(quantity).entries)
    assert samples.cli("check", folder).code == 0
    if plain.spin is Spin.NONCOLLINEAR:
        np.testing.assert_allclose(levels(found), levels(plain), rtol=0, atol=1e-12)


def test_every_damage_is_a_sentence(deeph, tmp_path):
    """Bits of the new files are flipped: refused by name, or read."""
    folder = copied(deeph / "o2_soc_split", tmp_path / "x")
    for _ in samples.flipped(folder / "hkb.h5", np.random.default_rng(3), 25):
        try:
            dock.read(folder).require("H")
        except DockError as error:
            samples.named(error, folder)
