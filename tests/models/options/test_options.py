"""``train.toml``: what is taken and what is refused; the closed package's keys."""

from __future__ import annotations

import dataclasses
import re

import pytest
from datasets import write_toml

from dock.errors import FormatError, MissingDataError
from dock.models.options import TrainOptions, read_train, table_of
from dock.models.options.train import _UNTAKEN, parse_device


def read(tmp_path, **keys):
    return read_train(write_toml(tmp_path / "train.toml", **keys))


def value_of(options, name):
    for part in name.split("."):
        options = getattr(options, part)
    return options


def refusal(tmp_path, **keys):
    with pytest.raises(FormatError) as caught:
        read(tmp_path, **keys)
    message = str(caught.value)
    assert str(tmp_path / "train.toml") in message
    assert "\n" not in message
    return message


class TestFile:
    def test_nothing_is_needed(self, tmp_path):
        options = read(tmp_path)
        assert options.model.backend == "jax"
        assert options.data.inputs_dir == str(tmp_path)
        assert TrainOptions().data.outputs_dir == "training"

    def test_missing(self, tmp_path):
        with pytest.raises(MissingDataError, match="options file"):
            read_train(tmp_path / "none.toml")

    @pytest.mark.parametrize("text", [b"a = ", b"\xff\xfe", b"[model]\n[model]"])
    def test_no_toml(self, tmp_path, text):
        (tmp_path / "t.toml").write_bytes(text)
        with pytest.raises(FormatError, match="not valid TOML"):
            read_train(tmp_path / "t.toml")

    def test_paths_count_from_the_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir("/")
        options = read(
            tmp_path,
            **{
                "data.inputs_dir": "d",
                "data.outputs_dir": "/o",
                "process.train.dataloader.dataset_split_json": "s.json",
                "process.train.continued.enable": True,
                "process.train.continued.previous_output_dir": "../old",
            },
        )
        assert options.data.inputs_dir == str(tmp_path / "d")
        assert options.data.outputs_dir == "/o"
        train = options.process.train
        assert train.dataloader.dataset_split_json == str(tmp_path / "s.json")
        assert train.continued.previous_output_dir == str(tmp_path.parent / "old")

    def test_plain_data_and_back(self, tmp_path):
        options = read(tmp_path, **{"process.train.optimizer.betas": [0, 0.5]})
        betas = options.process.train.optimizer.betas
        assert betas == (0.0, 0.5)
        assert all(isinstance(number, float) for number in betas)
        assert options.to_dict()["process"]["train"]["optimizer"]["betas"] == betas


class TestRefusals:
    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("modle", "Did you mean 'model'?"),
            ("model.net_typ", "Did you mean 'net_type'?"),
            ("process.train.optimizer.learning_rate", "Did you mean 'init_learning_rate'?"),
            ("process.train.max_epochs", "Did you mean 'max_epoch'?"),
            ("data.xyz", "Known here: inputs_dir, outputs_dir"),
            ("process.train.batch_size", "It stands in [process.train.dataloader]."),
            ("model.num_blocks", "It stands in [model.advanced]."),
        ],
    )
    def test_misspelt(self, tmp_path, key, near):
        message = refusal(tmp_path, **{key: 1})
        assert "no such key" in message
        assert key in message
        assert near in message

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("process.train.max_epoch", -1, "from 0 to ∞"),
            ("process.train.ema_decay", 1.5, "from 0 to 1"),
            ("process.train.multi_way_jit_num", 100, "from 1 to 64"),
            ("process.train.optimizer.betas", [0.9, 1.0], "from 0 to 0.999999"),
            ("process.train.optimizer.betas", [0.9], "2 items"),
            ("process.train.optimizer.init_learning_rate", -1, "from 0.0 to ∞"),
            ("process.train.optimizer.init_learning_rate", float("inf"), "out of range"),
            ("process.train.optimizer.init_learning_rate", float("nan"), "out of range"),
            ("model.huber_delta", 0, "out of range"),
            ("model.loss_type", "rmse", "Did you mean 'mse'?"),
            ("system.float_type", "double", "'fp32', 'fp64'"),
        ],
    )
    def test_value(self, tmp_path, key, value, words):
        path = tmp_path / "train.toml"
        shown = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
        path.write_text(f"{key} = {shown}\n")
        with pytest.raises(FormatError) as caught:
            read_train(path)
        assert key in str(caught.value)
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("process.train.max_epoch", "10", "a whole number"),
            ("process.train.max_epoch", 1.5, "a whole number"),
            ("process.train.max_epoch", True, "a whole number"),
            ("model.advanced.num_blocks", 1.5, "a whole number"),
            ("process.train.ema_decay", "high", "a number"),
            ("system.note", 3, "text"),
            ("process.train.do_remat", 1, "true or false"),
            ("process.train.optimizer.betas", 0.9, "a list of a number"),
            ("process.train.continued.freeze", "blocks/*", "a list of text"),
            ("model.net_type", ["normal"], "text"),
        ],
    )
    def test_type(self, tmp_path, key, value, words):
        message = refusal(tmp_path, **{key: value})
        assert f"Expected {words}" in message

    def test_section_that_is_none(self, tmp_path):
        assert "[data.graph]" in refusal(tmp_path, **{"data.graph": 3})

    def test_continued_without_a_run(self, tmp_path):
        message = refusal(tmp_path, **{"process.train.continued.enable": True})
        assert "previous_output_dir" in message

    @pytest.mark.parametrize("text", ["", "gpus", "gpu*", "gpu*0", "gpu:a", "cpu**2", "gpu*2:0;1"])
    def test_device(self, tmp_path, text):
        assert "this is no device" in refusal(tmp_path, **{"system.device": text})

    def test_devices(self):
        assert parse_device("cpu") == ("cpu", 1, [])
        assert parse_device("gpu*2:0,3") == ("gpu", 2, [0, 3])
        assert parse_device("cuda:1,2") == ("cuda", 2, [1, 2])


# Every key that the documentation of the closed package names: taken with a value of its own …
TAKEN = {
    "system.note": "water",
    "system.device": "cuda*2:0,1",
    "system.float_type": "fp64",
    "system.random_seed": 42,
    "system.log_level": "debug",
    "system.jax_memory_preallocate": False,
    "system.show_train_process_bar": False,
    "data.inputs_dir": "/in",
    "data.outputs_dir": "/out",
    "data.dft.validation_check": False,
    "data.graph.dataset_name": "water",
    "data.graph.storage_type": "disk",
    "data.graph.disk_shards_num": 4,
    "data.graph.disk_mem_buffer_size": 100,
    "data.graph.only_save_graph": True,
    "data.model_save.best": False,
    "data.model_save.latest": False,
    "data.model_save.latest_interval": 100,
    "model.net_type": "sparrow",
    "model.target_type": "Rho",
    "model.loss_type": "wmae",
    "model.advanced.gaussian_basis_rmax": 12.0,
    "model.advanced.net_irreps": "16x0e+16x1o",
    "model.advanced.num_blocks": 4,
    "model.advanced.num_heads": 2,
    "model.advanced.standardize_gauge": True,
    "process.train.max_epoch": 10,
    "process.train.multi_way_jit_num": 12,
    "process.train.ahead_of_time_compile": True,
    "process.train.do_remat": True,
    "process.train.dataloader.batch_size": 20,
    "process.train.dataloader.train_size": 6,
    "process.train.dataloader.validate_size": 2,
    "process.train.dataloader.test_size": 2,
    "process.train.dataloader.dataset_split_json": "/split.json",
    "process.train.dataloader.only_use_train_loss": True,
    "process.train.optimizer.type": "sgd",
    "process.train.optimizer.init_learning_rate": 1e-3,
    "process.train.optimizer.clip_norm_factor": -1.0,
    "process.train.optimizer.betas": (0.8, 0.95),
    "process.train.optimizer.eps": 1e-7,
    "process.train.optimizer.weight": 0.01,
    "process.train.optimizer.momentum": 0.8,
    "process.train.scheduler.type": "reduce_on_plateau",
    "process.train.scheduler.factor": 0.3,
    "process.train.scheduler.patience": 7,
    "process.train.scheduler.rtol": 0.05,
    "process.train.scheduler.cooldown": 3,
    "process.train.scheduler.accum_size": 30,
    "process.train.scheduler.init_scale": 0.1,
    "process.train.scheduler.warmup_steps": 50,
    "process.train.scheduler.decay_steps": 500,
    "process.train.scheduler.end_scale": 0.01,
    "process.train.scheduler.transition_steps": 10,
    "process.train.scheduler.staircase": True,
    "process.train.scheduler.min_learning_rate_scale": 1e-3,
    "process.train.continued.previous_output_dir": "/old",
    "process.train.continued.enable": True,
    "process.train.continued.new_training_data": False,
    "process.train.continued.load_model_type": "latest",
}
# … or passed over with a note, since they ask for what is done anyway …
PASSED = {
    "model.advanced.consider_parity": (False, "parity included"),
    "data.dft.data_dir_depth": (2, "any depth"),
    "data.graph.graph_type": ("HS", "union of the patterns"),
    "data.graph.disk_shards_indices": ([], "All shards are read"),
    "data.graph.common_orbital_types": ("s3p2d1f1", "found from the data"),
    "data.graph.parallel_num": (4, "not the bottleneck"),
    "data.model_save.latest_num": (3, "One latest model"),
    "model.advanced.enable_bs3b_layer": (True, "output weights"),
    "model.advanced.bs3b_orbital_types": ("s3p2", "output weights"),
    "model.advanced.enable_element_moe": (True, "output weights"),
    "model.advanced.moe_element_include": (["C"], "output weights"),
    "model.advanced.latent_scalar_dim": (0, "radial_hidden"),
    "process.train.drop.dropout_rate": (0.0, "no dropout"),
    "process.train.scheduler.transition_begin": (0, "warmup_steps"),
    "process.train.continued.new_optimizer": (True, "new optimizer"),
    "process.train.with_plugin.enable": (False, "entry point"),
}
# … or refused by name, with the alternative.
REFUSED = {
    "data.graph.graph_type": ("V", "union of the patterns"),
    "data.graph.disk_shards_indices": ([0], "leave the key out"),
    "model.advanced.latent_irreps": ("8x0e", "net_irreps"),
    "model.advanced.latent_scalar_dim": (8, "radial_hidden"),
    "model.advanced.latent_edge_cutoff": (6.0, "Edges end"),
    "model.advanced.vr_focus_size": (1, "target_type H"),
    "process.train.drop.dropout_rate": (0.1, "weight"),
    "process.train.drop.stochastic_depth": (0.1, "weight"),
    "process.train.drop.proj_rate": (0.1, "weight"),
    "process.train.scheduler.transition_begin": (10, "warmup_steps"),
    "process.train.continued.new_optimizer": (False, "new optimizer"),
    "process.train.continued.load_model_epoch": (3, "load_model_type"),
    "process.train.with_plugin.enable": (True, "entry point"),
    "process.train.with_plugin.plugin": ("siesta", "entry point"),
    "process.train.with_plugin.env_path": ("/e", "entry point"),
    "process.train.with_plugin.script_path": ("/s", "entry point"),
    "process.train.with_plugin.backend": ("x", "entry point"),
    "process.train.with_plugin.dump_intermediate": (True, "entry point"),
}
# Values of keys that are taken.
REFUSED_VALUES = [
    *[("model.net_type", value, "Forces are not learned") for value in ("owl", "petrel")],
    ("model.net_type", "swift", "Auto-encoders"),
    *[("model.target_type", value, "use H, Rho") for value in ("VrC", "Vc", "FF", "IEP")],
    *[
        ("model.loss_type", value, "mae, mse")
        for value in ("ai2dft", "ai2dft_node", "hopad", "aims")
    ],
]
TRANSLATED = [
    *[("system.float_type", value, "fp32", "fp32 is taken") for value in ("bf16", "tf32")],
    *[("model.net_type", value, "accurate", "is taken") for value in ("EaglePlus", "albatross")],
    ("model.net_type", "Normal", "normal", ""),
    ("model.net_type", "ACCURATE", "accurate", ""),
    ("model.target_type", "h", "H", ""),
]
TAKEN_VALUES = [
    *[("model.net_type", value) for value in ("sparrow", "normal", "eagle", "accurate")],
    *[("model.loss_type", value) for value in ("mae", "mse", "wmae", "huber", "block-mse")],
    *[("process.train.optimizer.type", value) for value in ("adamw", "adam", "sgd")],
    *[
        ("process.train.scheduler.type", value)
        for value in ("reduce_on_plateau", "warmup_cosine_decay", "warmup_exponential_decay")
    ],
    *[("data.graph.storage_type", value) for value in ("memory", "disk")],
    *[
        ("system.device", value)
        for value in ("cpu", "cpu*4", "gpu", "gpu*2:0,1", "cuda", "rocm", "dcu", "tpu")
    ],
]


class TestClosedPackage:
    def test_all_its_keys_at_once(self, tmp_path):
        options = read(tmp_path, **TAKEN)
        for name, value in TAKEN.items():
            assert value_of(options, name) == value, name
            assert value != value_of(TrainOptions(), name), f"{name}: the default proves nothing"

    @pytest.mark.parametrize("name", REFUSED)
    def test_refused_by_name(self, tmp_path, name):
        value, words = REFUSED[name]
        message = refusal(tmp_path, **{name: value})
        assert words in message
        assert any(known in message for known in _UNTAKEN if name.startswith(known))

    @pytest.mark.parametrize("name", PASSED)
    def test_passed_over_where_it_asks_for_nothing_else(self, tmp_path, caplog, name):
        caplog.set_level("INFO", logger="dock")
        value, words = PASSED[name]
        assert read(tmp_path, **{name: value}) == read(tmp_path)
        assert words in caplog.text
        assert name in caplog.text or any(name.startswith(known) for known in _UNTAKEN)

    def test_a_table_that_is_not_enabled_passes_whatever_it_has(self, tmp_path):
        name = "process.train.with_plugin"
        keys = {f"{name}.enable": False, f"{name}.plugin": "siesta", f"{name}.dump": True}
        assert read(tmp_path, **keys) == read(tmp_path)
        assert "entry point" in refusal(tmp_path, **keys | {f"{name}.enable": True})

    @pytest.mark.parametrize(("name", "value", "taken", "words"), TRANSLATED)
    def test_values_translated(self, tmp_path, caplog, name, value, taken, words):
        caplog.set_level("INFO", logger="dock")
        assert value_of(read(tmp_path, **{name: value}), name) == taken
        assert words in caplog.text

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path):
        keys = {
            "system.device": "gpus",
            "model.net_type": "norml",
            "process.train.max_epoch": 0,
            "process.train.drop.dropout_rate": 0.1,
            "process.train.continued.enable": True,
        }
        with pytest.raises(FormatError) as caught:
            read(tmp_path, **keys)
        message = str(caught.value)
        assert "5 of its keys" in message
        for words in ("no device", "'normal'", "max_epoch", "dropout", "previous_output_dir"):
            assert words in message
        assert message.count("train.toml") == 1

    def test_two_words_on_when_the_plateau_is_looked_for(self, tmp_path):
        keys = {
            "process.train.scheduler.type": "reduce_on_plateau",
            "process.train.scheduler.accum_size": 30,
        }
        assert read(tmp_path, **keys).process.train.scheduler.accum_size == 30
        assert "accum_size" in refusal(tmp_path, **keys, **{"process.train.validate_interval": 20})

    @pytest.mark.parametrize(("name", "value"), TAKEN_VALUES)
    def test_values_taken(self, tmp_path, name, value):
        assert value_of(read(tmp_path, **{name: value}), name) == value

    @pytest.mark.parametrize(("name", "value", "words"), REFUSED_VALUES)
    def test_values_refused(self, tmp_path, name, value, words):
        message = refusal(tmp_path, **{name: value})
        assert words in message
        assert value in message

    @pytest.mark.shared
    def test_no_key_of_its_documentation_is_forgotten(self, shared):
        """Every identifier in the list of its options is one of those above."""
        text = (shared / "formats" / "closed-trainer-options.md").read_text()
        text = text[text.index("`[system]`") : text.index("Infer:")]
        words = set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", text))
        known = {part for name in (*TAKEN, *PASSED, *REFUSED) for part in name.split(".")}
        known |= {value for _, value in TAKEN_VALUES}
        known |= {value for _, value, _ in REFUSED_VALUES}
        known |= {value.lower() for _, value, _, _ in TRANSLATED}
        assert words - known == {"l_orb"}


class TestTable:
    def test_every_key_has_a_row_with_its_meaning(self):
        rows = table_of(TrainOptions)
        names = [row[0] for row in rows]
        assert len(set(names)) == len(names)
        assert {"system.device", "process.train.scheduler.patience"} <= set(names)
        assert all(all(row) for row in rows)

    def test_defaults_are_allowed(self, tmp_path):
        """What the table shows as default can be written into the file."""
        lines = [
            f"{name} = {default}"
            for name, _, default, _ in table_of(TrainOptions)
            if default != "—"
        ]
        path = tmp_path / "train.toml"
        path.write_text("\n".join(lines))
        options, plain = read_train(path), TrainOptions()
        for part in ("system", "model"):
            assert getattr(options, part) == getattr(plain, part)
        assert dataclasses.asdict(options.process) == dataclasses.asdict(plain.process)
