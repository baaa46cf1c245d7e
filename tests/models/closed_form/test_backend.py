"""The closed forms as backends."""

from datasets import make_set, small_options

from dock.models import backend


def test_keys_of_networks_are_said_to_be_of_no_use(tmp_path, caplog):
    caplog.set_level("INFO", logger="dock")
    make_set(tmp_path / "set", (2,) * 5)
    changes = {"model.backend": "two-centre", "model.loss_type": "huber", "system.device": "gpu"}
    options = small_options(tmp_path / "t.toml", tmp_path / "set", **changes)
    backend("two-centre").fit(options)
    words = next(text for text in caplog.messages if "does not use" in text)
    for name in ("system.device", "model.loss_type", "model.advanced.net_irreps"):
        assert name in words
    assert "inputs_dir" not in words
    assert "validate_size" not in words
