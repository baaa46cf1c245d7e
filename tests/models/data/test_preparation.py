"""From a folder to data: split, targets, what is read and written, and the refusals on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import calculation, make_set, molecule, small_options
from samples import listing

import dock
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError
from dock.models.data.inspection import Inspection
from dock.models.data.preparation import check_data, choose_layout, choose_split, prepare_data
from dock.models.data.samples import find_samples

NAMES = [f"m{number:02d}" for number in range(10)]
LOADER = "process.train.dataloader."


def options(tmp_path, data=".", **changes):
    return small_options(tmp_path / "t.toml", data, **changes)


class TestSplit:
    def sizes(self, tmp_path, names=NAMES, **sizes):
        keys = {LOADER + f"{name}_size": value for name, value in sizes.items()}
        found = choose_split(options(tmp_path, **keys), names)
        every = found.train + found.validate + found.test
        assert len(set(every)) == len(every)
        assert set(every) <= set(names)
        return len(found.train), len(found.validate), len(found.test)

    def test_sizes(self, tmp_path):
        everything = {"train": -1, "validate": -1, "test": -1}
        assert self.sizes(tmp_path, **everything) == (6, 2, 2)
        assert self.sizes(tmp_path, train=-1, validate=3, test=0) == (7, 3, 0)
        assert self.sizes(tmp_path, train=4, validate=3, test=2) == (4, 3, 2)
        assert self.sizes(tmp_path, NAMES[:3], **everything) == (3, 0, 0)
        assert self.sizes(tmp_path, NAMES[:1], **everything) == (1, 0, 0)

    @pytest.mark.parametrize("sizes", [(9, 1, 1), (-1, 5, 5), (0, 2, 2), (11, 0, 0)])
    def test_sizes_that_do_not_fit(self, tmp_path, sizes):
        with pytest.raises(UsageError, match="10 structures"):
            self.sizes(tmp_path, train=sizes[0], validate=sizes[1], test=sizes[2])

    def test_by_the_seed_and_not_by_the_order(self, tmp_path):
        one = choose_split(options(tmp_path), NAMES)
        assert choose_split(options(tmp_path), NAMES[::-1]) == one
        assert choose_split(options(tmp_path, **{"system.random_seed": 1}), NAMES) != one

    def test_copies_stay_together(self, tmp_path, caplog):
        caplog.set_level("INFO", logger="dock")
        names = [f"{crystal}{copy}" for crystal in "abcdefgh" for copy in range(3)]
        atoms = {name: ("Si", *[name[0].upper()] * 2) for name in names}
        sizes = {LOADER + "validate_size": 5, LOADER + "test_size": 6}
        found = choose_split(options(tmp_path, **sizes), names, atoms)
        parts = [{name[0] for name in part} for part in (found.train, found.validate, found.test)]
        assert sum(len(part) for part in parts) == 8
        assert (len(found.train), len(found.validate), len(found.test)) == (15, 3, 6)
        assert "8 kinds" in caplog.text
        assert choose_split(options(tmp_path, **sizes), names[::-1], atoms) == found
        alone = options(tmp_path, **sizes, **{LOADER + "copies_together": False})
        assert choose_split(alone, names, atoms) == choose_split(alone, names)
        assert len(choose_split(alone, names, atoms).validate) == 5

    def test_no_part_is_left_empty_without_a_word(self, tmp_path, caplog):
        names = [f"{crystal}{copy}" for crystal in "abcdefgh" for copy in range(3)]
        atoms = {name: ("Si", name[0].upper()) for name in names}
        small = options(tmp_path, **{LOADER + "validate_size": 2, LOADER + "test_size": 3})
        found = choose_split(small, names, atoms)
        assert found == choose_split(small, names)
        assert (len(found.validate), len(found.test)) == (2, 3)
        assert "no room for all copies" in caplog.text

    def test_a_set_of_one_substance_is_divided_as_ever(self, tmp_path):
        atoms = dict.fromkeys(NAMES, ("H", "H", "O"))
        assert choose_split(options(tmp_path), NAMES, atoms) == choose_split(
            options(tmp_path), NAMES
        )

    def read(self, tmp_path, content):
        path = tmp_path / "split.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return choose_split(options(tmp_path, **{LOADER + "dataset_split_json": str(path)}), NAMES)

    def test_from_a_file(self, tmp_path):
        found = self.read(tmp_path, {"train": ["m03", "m01"], "validate": ["m02"]})
        assert (found.train, found.validate, found.test) == (("m03", "m01"), ("m02",), ())

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("{", "no split"),
            ("[]", "no split"),
            ({"train": 3}, "no split"),
            ({"train": [["m01"]]}, "is not in the data set"),
            ({"train": [1, "m02"]}, "1 is not in the data set"),
            ({"train": ["m77"]}, "m77 is not in the data set"),
            ({"train": ["m01"], "test": ["m01"]}, "a name occurs twice"),
            ({"train": [], "test": ["m01"]}, "nothing to train on"),
            ({}, "nothing to train on"),
        ],
    )
    def test_bad_files(self, tmp_path, content, words):
        with pytest.raises(FormatError, match=words) as caught:
            self.read(tmp_path, content)
        assert str(tmp_path / "split.json") in str(caught.value)

    def test_no_file(self, tmp_path):
        with pytest.raises(MissingDataError, match="none"):
            choose_split(options(tmp_path, **{LOADER + "dataset_split_json": "none.json"}), NAMES)


class TestLayout:
    def layout(self, tmp_path, calcs, wanted="auto"):
        for number, calc in enumerate(calcs):
            dock.write(calc, tmp_path / "set" / f"m{number}")
        seen = Inspection(find_samples(tmp_path / "set"), "hamiltonian")
        given = options(tmp_path, **{"model.time_reversal": wanted})
        return choose_layout(given, seen.calculations, seen.spin)

    def calcs(self, rng, *, magnetic):
        found = []
        for _ in range(2):
            structure = molecule(rng, 3)
            if magnetic:
                found.append(calculation(structure, spin=Spin.NONCOLLINEAR))
                continue
            plain = calculation(structure)
            H, zero = plain.hamiltonian, 0 * plain.hamiltonian.entries[0]
            entries = np.stack([H.entries[0], zero, zero, H.entries[0]]).astype(complex)
            spinor = dock.AOMatrix(
                "hamiltonian", structure, H.basis, H.pairs, Spin.NONCOLLINEAR, entries
            )
            matrices = {"hamiltonian": spinor, "overlap": plain.overlap}
            found.append(dock.Calculation(structure, H.basis, Spin.NONCOLLINEAR, matrices))
        return found

    @pytest.mark.parametrize(
        ("magnetic", "wanted", "found"),
        [
            (False, "auto", True),
            (True, "auto", False),
            (True, "on", True),
            (False, "off", False),
        ],
    )
    def test_time_reversal(self, tmp_path, rng, magnetic, wanted, found):
        layout = self.layout(tmp_path, self.calcs(rng, magnetic=magnetic), wanted)
        assert layout.time_reversal is found

    def test_without_spinors(self, tmp_path, rng):
        assert not self.layout(tmp_path, [calculation(molecule(rng, 2))], "on").time_reversal


class TestData:
    def test_a_check_writes_nothing(self, tmp_path):
        make_set(tmp_path / "set", (2, 3, 4, 3, 2))
        given = options(tmp_path, tmp_path / "set")
        before = listing(tmp_path)
        found = check_data(given)
        assert listing(tmp_path) == before
        assert found["n_structures"] == 5
        assert found["atoms"] == [2, 4]
        assert found["species"] == ["C", "H"]
        assert found["irreps"] == "2x0e+2x1o+1x1e+1x2e"
        json.dumps(found)

    def test_only_shards(self, tmp_path):
        make_set(tmp_path / "set", (2, 3, 4, 3, 2))
        check_data(options(tmp_path, tmp_path / "set", **{"data.graph.only_save_graph": True}))
        assert sorted(x.name for x in (tmp_path / "run" / "graph").iterdir()) == [
            f"shard_0000{number}.h5" for number in range(5)
        ]

    def test_structures_that_are_not_used_are_not_read(self, tmp_path):
        make_set(tmp_path / "set", (2,) * 6)
        sizes = {LOADER + "train_size": 2, LOADER + "validate_size": 1}
        parts = prepare_data(options(tmp_path, tmp_path / "set", **sizes))
        assert len(parts.store) == 3

    def test_without_the_deep_check(self, tmp_path):
        """What a first look finds is refused all the same; matrices are read when they are used."""
        make_set(tmp_path / "set", (2,) * 5)
        dock.write(
            calculation(molecule(np.random.default_rng(1), 2), spin=Spin.COLLINEAR),
            tmp_path / "set" / "x",
        )
        given = options(tmp_path, tmp_path / "set", **{"data.dft.validation_check": False})
        with pytest.raises(UsageError, match="x: spin is 'collinear'"):
            prepare_data(given)
