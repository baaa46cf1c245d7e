"""``dock train``: what it prints, and every bad input: exit code 2, one sentence, nothing lost."""

from __future__ import annotations

import json
import logging
import shutil

import h5py
import numpy as np
import pytest
import samples
from samples import cli, listing

import dock
from dock.models.modelfile import read_model

TOML = """
[data]
inputs_dir = "set"
outputs_dir = "run"
[model]
backend = "two-centre"
[process.train.dataloader]
validate_size = 2
test_size = 2
"""


@pytest.fixture
def place(tmp_path, bundled, monkeypatch):
    """A folder with eight molecules and the options of an instant training."""
    for number in range(8):
        shutil.copytree(bundled / "water" / f"{number:03d}", tmp_path / "set" / f"{number:03d}")
    (tmp_path / "train.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("dock").level
    yield tmp_path
    logging.getLogger("dock").setLevel(level)


def train(*options, code=0):
    answer = cli("train", "train.toml", *options)
    assert answer.code == code, answer
    return answer


def write(place, text=TOML, *, old="", new=""):
    assert old in text
    (place / "train.toml").write_text(text.replace(old, new))


def refused(place, *words, code=2):
    """Assert that a training is refused in one sentence, and that no file changed."""
    before = listing(place)
    for more in ((), ("--check",)):
        answer = cli("train", "train.toml", "-q", *more)
        samples.refused(answer, *words, code=code)
        assert answer.out == ""
        assert listing(place) == before
    return answer.err


class TestOutput:
    def test_text(self, place):
        lines = train().out.splitlines()
        assert lines[0] == f"{place}/run/model/best.h5: fitted"
        assert [line.split(" MAE ")[0] for line in lines[1:]] == ["train", "validation", "test"]
        assert all(line.endswith(" meV") for line in lines[1:])
        assert samples.names(place / "run") == [
            "dataset_split.json",
            "model",
            "result.json",
            "train.json",
        ]

    def test_json(self, place):
        answer = train("--json")
        found = json.loads(answer.out)
        assert found["unit"] == "eV"
        assert 0 < found["train_mae"] < 1
        saved = json.loads((place / "run" / "result.json").read_text())
        assert saved["test_mae"] == found["test_mae"]
        assert read_model(place / "run").summary["training_set"]["n_train"] == 4

    def test_check_writes_nothing(self, place):
        before = listing(place)
        text = train("--check").out
        assert "n_structures: 8" in text
        assert "species: ['H', 'O']" in text
        assert json.loads(train("--check", "--json").out)["n_test"] == 2
        assert listing(place) == before

    def test_only_the_shards(self, place):
        write(place, TOML + "[data.graph]\nonly_save_graph = true\ndisk_shards_num = 2\n")
        train()
        assert samples.names(place / "run" / "graph") == ["shard_00000.h5", "shard_00001.h5"]
        assert samples.names(place / "run") == ["graph"]

    def test_log_level(self, place):
        for number in range(3):
            (place / "set" / f"00{number}" / "overlap.h5").unlink()
        assert "no overlap.h5 in 3 structures" in train().err
        write(place, '[system]\nlog_level = "error"\n' + TOML)
        assert train().err == ""
        assert train("--quiet").err == ""

    def test_help_needs_no_heavy_import(self):
        answer = cli("train", "--help")
        assert "dock train train.toml --check" in answer.out


class TestOptions:
    def test_no_file(self, place):
        (place / "train.toml").unlink()
        refused(place, "train.toml", "options file")

    def test_no_toml(self, place):
        write(place, "[data\n")
        refused(place, "train.toml", "not valid TOML", "line 1")

    def test_misspelt(self, place):
        write(place, old="inputs_dir", new="input_dir")
        refused(place, "data.input_dir", "Did you mean 'inputs_dir'?")

    def test_out_of_range(self, place):
        write(place, TOML + "[process.train]\nmax_epoch = -1\n")
        refused(place, "process.train.max_epoch", "from 0 to", "Found -1")
        write(place, TOML + "[process.train]\nmax_epoch = 0\n")
        refused(place, "process.train.max_epoch", "nothing to train", "Found 0")

    def test_unknown_backend(self, place):
        write(place, old="two-centre", new="deeph")
        refused(place, "'deeph'", "jax, jax-export")

    def test_closed_network(self, place):
        write(place, old='backend = "two-centre"', new='net_type = "owl"')
        refused(place, "owl", "Forces are not learned")

    def test_sizes(self, place):
        write(place, old="test_size = 2", new="test_size = 7")
        refused(place, "8 structures", "[process.train.dataloader]")

    def test_split_of_another_set(self, place, bundled):
        name = bundled / "water" / "split.json"
        write(place, old="validate_size = 2", new=f'dataset_split_json = "{name}"')
        refused(place, "split.json", "is not in the data set")


class TestData:
    def change_info(self, place, **changes):
        path = place / "set" / "005" / "info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def test_no_folder(self, place):
        write(place, old='"set"', new='"sets"')
        refused(place, "sets", "no such folder")

    def test_nothing_in_it(self, place):
        (place / "empty").mkdir()
        write(place, old='"set"', new='"empty"')
        refused(place, "empty", "convert first")

    def test_mixed_spins(self, place, bundled):
        dock.write(dock.read(bundled / "openmx" / "o2-spin"), place / "set" / "o2")
        refused(place, "o2: spin is 'collinear', but 'none'", "nothing was trained")

    def test_mixed_bases(self, place, bundled):
        dock.write(dock.read(bundled / "openmx" / "h2o"), place / "set" / "h2o")
        refused(place, "h2o: ", "has shells", "in the structures before")

    @pytest.mark.parametrize("name", ["POSCAR", "info.json", "hamiltonian.h5"])
    def test_missing_file(self, place, name):
        (place / "set" / "005" / name).unlink()
        refused(place, "005", f"{name} is missing")

    def test_missing_overlap_where_it_is_needed(self, place):
        (place / "set" / "005" / "overlap.h5").unlink()
        write(place, TOML + "[model.advanced]\nstandardize_gauge = true\n")
        refused(place, "005", "overlap.h5", "standardize_gauge")

    def test_nan(self, place):
        def spoil(entries):
            entries[3] = np.nan
            return entries

        samples.rewrite(place / "set" / "005" / "hamiltonian.h5", entries=spoil)
        refused(place, "005", "NaN")

    def test_one_atom_too_few(self, place):
        path = place / "set" / "005" / "POSCAR"
        lines = path.read_text().splitlines()
        lines = [line.replace("1 2", "1 1").replace("1   2", "1   1") for line in lines[:-1]]
        path.write_text("\n".join(lines) + "\n")
        refused(place, "005", "atom")

    def test_cut_matrix(self, place):
        path = place / "set" / "005" / "hamiltonian.h5"
        path.write_bytes(path.read_bytes()[:2000])
        refused(place, "005/hamiltonian.h5")

    def test_garbled_info(self, place):
        (place / "set" / "005" / "info.json").write_text("{")
        refused(place, "005/info.json")

    def test_a_previous_run_survives(self, place):
        """A set that has become bad does not cost the model that was trained before."""
        train()
        (place / "set" / "005" / "hamiltonian.h5").unlink()
        refused(place, "005")
        assert read_model(place / "run").layout.species == ("H", "O")


NETWORK = """
[data]
inputs_dir = "set"
outputs_dir = "run"
[model]
baseline = "none"
[model.advanced]
net_irreps = "2x0e+2x1o+2x2e+2x3o+2x4e+2x1e+2x2o+2x3e"
num_blocks = 1
n_radial = 4
radial_hidden = 4
[process.train]
max_epoch = 1
[process.train.dataloader]
test_size = 0
validate_size = 0
batch_size = 8
"""


class TestNetworks:
    """Refusals that need JAX but no training."""

    @pytest.fixture(autouse=True)
    def jax(self):
        pytest.importorskip("jax")

    def refused_by_training(self, place, *words, code=2):
        before = listing(place)
        answer = cli("train", "train.toml", "-q")
        samples.refused(answer, *words, code=code)
        assert listing(place) == before

    def test_no_such_device(self, place):
        write(place, '[system]\ndevice = "gpu*4"\n' + NETWORK)
        self.refused_by_training(place, "JAX sees no gpu here", 'device = "cpu"')

    def test_irreps_that_are_too_small(self, place):
        write(place, NETWORK, old="+2x4e", new="")
        self.refused_by_training(place, "net_irreps", "l = 4", "Write for example")

    def test_irreps_that_are_none(self, place):
        write(place, NETWORK, old="2x0e+", new="2y0e+")
        self.refused_by_training(place, "net_irreps", "2y0e")

    @pytest.mark.parametrize("kind", ["cut", "version", "closed-form", "missing"])
    def test_a_model_to_go_on_with(self, place, kind):
        train()
        file = place / "run" / "model" / "best.h5"
        words = {
            "cut": ("best.h5", "cannot read"),
            "version": ("another version", "99"),
            "closed-form": ("no network to go on with",),
            "missing": ("best.h5 is missing",),
        }[kind]
        if kind == "cut":
            file.write_bytes(file.read_bytes()[:3000])
        elif kind == "version":
            with h5py.File(file, "r+") as h5:
                h5.attrs["head"] = json.dumps(json.loads(h5.attrs["head"]) | {"version": 99})
        elif kind == "missing":
            file.unlink()
        more = '[process.train.continued]\nenable = true\nprevious_output_dir = "run"\n'
        write(place, NETWORK + more, old='outputs_dir = "run"', new='outputs_dir = "new"')
        self.refused_by_training(place, *words)

    def test_a_foreign_or_cut_checkpoint(self, place):
        """The models beside it stay."""
        train()
        state = place / "run" / "model" / "state.h5"
        write(place, NETWORK)
        for content in (b"", b"text"):
            state.write_bytes(content)
            self.refused_by_training(place, "state.h5", "Delete it to train from the start")
        with h5py.File(state, "w") as file:
            file.attrs["head"] = json.dumps({"format": "dock training state", "version": 1})
        self.refused_by_training(place, "another version", "version 1")

    def test_out_of_memory(self, place, monkeypatch):
        from dock.models.network.training.run import _Run

        def broken(self, batch):
            raise MemoryError("Unable to allocate 99 GiB")

        monkeypatch.setattr(_Run, "_one_step", broken)
        write(place, NETWORK)
        samples.refused(
            cli("train", "train.toml", "-q"), "99 GiB", "batch_size", "now 8", "do_remat"
        )

    def test_nan_is_no_convergence(self, place, monkeypatch):
        from dock.models.network.training.run import _Run

        monkeypatch.setattr(_Run, "_one_step", lambda self, _: self._refuse_nan(3, 0, 0))
        write(place, NETWORK)
        answer = cli("train", "train.toml", "-q")
        samples.refused(answer, "the loss became nan at step 3", "00", code=4)
