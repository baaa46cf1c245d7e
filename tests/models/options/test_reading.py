"""Every key of ``train.toml`` and ``infer.toml`` is read by what it is for."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import typing

import pytest
from datasets import SMALL, make_set, small_options, write_toml
from samples import cli

from dock.core.spin import Spin
from dock.io.progress import Progress
from dock.models.data.preparation import check_data
from dock.models.options.infer import InferOptions
from dock.models.options.train import Optimizer, Scheduler, TrainOptions
from dock.models.targets import TargetLayout

pytest.importorskip("jax")

PROPERTIES = {"quantity", "preset", "closed_form", "wants_initial"}  # others ask these


def schema(cls):
    """Yield a dataclass of options and all below it."""
    yield cls
    for kind in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(kind):
            yield from schema(kind)


def keys(cls):
    return {
        (table, item.name)
        for table in schema(cls)
        for item in dataclasses.fields(table)
        if not dataclasses.is_dataclass(typing.get_type_hints(table)[item.name])
    }


@pytest.fixture(scope="module")
def seen():
    """Note which attributes of the options the rest of the project looks at."""
    found = set()

    def look(self, name):
        frame = sys._getframe(1)
        module = frame.f_globals.get("__name__", "")
        own = module.startswith("dock.models.options")
        if module.startswith("dock.") and (not own or frame.f_code.co_name in PROPERTIES):
            found.add((type(self), name))
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        for table in (*schema(TrainOptions), *schema(InferOptions)):
            patch.setattr(table, "__getattribute__", look)
        yield found


@pytest.fixture(scope="module")
def trained(seen, tmp_path_factory):
    """A network that has been trained, and trained on, with most of what there is."""
    folder = tmp_path_factory.mktemp("keys")
    make_set(folder / "set", cutoff=9.0, electrons=4)
    changes = {
        "data.graph.storage_type": "disk",
        "process.train.max_epoch": 1,
        "process.train.scheduler.type": "reduce_on_plateau",
        "process.train.dataloader.test_size": 2,
    }
    keys = {"data.inputs_dir": "set", "data.outputs_dir": "run", **SMALL, **changes}
    answer = cli("train", write_toml(folder / "train.toml", **keys))
    assert answer.code == 0, answer
    return folder


def missing(cls, seen):
    return sorted(f"{table.__name__}.{name}" for table, name in keys(cls) - seen)


def test_every_key_of_a_training_is_read(trained, seen, tmp_path):
    """What one training does not need is asked for where another would."""
    from dock.models.network.training.losses import make_loss
    from dock.models.network.training.optimiser import make_optimiser
    from dock.models.network.training.run import _Run
    from dock.models.network.training.schedule import Schedule
    from dock.models.network.training.setup import prepare

    for kind in ("adam", "adamw", "sgd"):
        make_optimiser(Optimizer(type=kind), {"x": True})
    for kind in ("warmup_cosine_decay", "warmup_stable_decay", "warmup_exponential_decay"):
        Schedule(Scheduler(type=kind), 100)
    make_loss(TrainOptions(), TargetLayout(("H",), ((0,),), Spin.NONE))
    continued = "process.train.continued."
    changes = {continued + "enable": True, continued + "previous_output_dir": str(trained / "run")}
    changes |= {continued + "new_training_data": False, "process.train.states.enable": True}
    options = small_options(tmp_path / "t.toml", trained / "set", **changes)
    _Run(options, prepare(options), Progress())
    spinors = make_set(tmp_path / "spinors", (2,) * 2, spin=Spin.NONCOLLINEAR)
    alone = {"process.train.dataloader.validate_size": 0}
    check_data(small_options(tmp_path / "t.toml", spinors, **alone))
    assert missing(TrainOptions, seen) == []


def test_every_key_of_a_prediction_is_read(trained, seen):
    shutil.copytree(trained / "set" / "m00", trained / "new")
    (trained / "new" / "hamiltonian.h5").unlink()
    given = {"model.model_dir": "run", "data.inputs_dir": "new", "data.outputs_dir": "out"}
    given["system.note"] = "for the record"
    answer = cli("infer", write_toml(trained / "infer.toml", **given))
    assert answer.code == 0, answer
    assert "for the record" in (trained / "out" / "prediction.json").read_text()
    assert missing(InferOptions, seen) == []


def test_no_progress_where_none_is_wanted(trained, monkeypatch):
    """The switches of the bars act: only the notes are left on stderr."""
    import dock.cli.infer as command

    shown = []

    class Silent(command.Bar):
        def __init__(self, what, *, quiet):
            super().__init__(what, quiet=quiet)
            shown.append(quiet)

    monkeypatch.setattr(command, "Bar", Silent)
    given = {"model.model_dir": "run", "data.inputs_dir": "set", "data.outputs_dir": "several"}
    for wanted in (True, False):
        keys = given | {"system.show_infer_process_bar": wanted}
        assert cli("infer", write_toml(trained / "infer.toml", **keys)).code == 0
    assert shown == [False, True]
