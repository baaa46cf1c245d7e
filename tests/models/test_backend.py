"""The registry of backends, and one of another package, found by its entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
from datasets import write_toml
from scipy.spatial.transform import Rotation

import dock
from dock.errors import UsageError
from dock.models import Model, ModelBackend, backend, backend_names

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLUGIN = HERE / "plugin"


class TestRegistry:
    def test_built_in(self):
        assert {"jax", "jax-export", "three-centre", "two-centre"} <= set(backend_names())
        for name in ("jax", "three-centre", "two-centre"):
            assert isinstance(backend(name), ModelBackend)

    def test_unknown(self):
        with pytest.raises(UsageError, match="no backend 'deeph'"):
            backend("deeph")

    def test_a_plug_in_without_the_verbs(self, monkeypatch):
        class Point:
            name, value = "bad", "package:BAD"

            def load(self):
                return object()

        registry = sys.modules["dock.models.backend"]  # the function has the same name
        monkeypatch.setattr(registry, "entry_points", lambda group: [Point()])
        assert "bad" in backend_names()
        with pytest.raises(UsageError, match="fit, load and check, and load_options"):
            backend("bad")

    def test_no_jax_for_closed_forms(self, tmp_path, bundled):
        """Fitting, loading and predicting with two centres never imports JAX."""
        toml = write_toml(
            tmp_path / "t.toml",
            **{
                "data.inputs_dir": str(bundled / "water"),
                "model.backend": "two-centre",
                "process.train.dataloader.dataset_split_json": str(bundled / "water/split.json"),
            },
        )
        code = f"""
import sys
import dock.models
from dock.cli import _run
assert _run(["train", {str(toml)!r}, "-q"]) == 0
model = dock.models.load({str(tmp_path / "training")!r})
calc = dock.read({str(bundled / "water" / "055")!r})
H = model.predict(calc.structure, calc.overlap)
assert abs((H - calc.hamiltonian).entries).mean() < 0.5
assert "jax" not in sys.modules
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return samples.installed(PLUGIN, "dock_atoms", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def atoms(installed, tmp_path_factory, bundled):
    """Run ``dock`` in a new process that has the plug-in, in a folder with its options."""
    folder = tmp_path_factory.mktemp("run")
    write_toml(
        folder / "train.toml",
        **{
            "data.inputs_dir": str(bundled / "water"),
            "data.outputs_dir": "run",
            "model.backend": "atoms",
            "process.train.dataloader.dataset_split_json": str(bundled / "water/split.json"),
        },
    )

    def run(*arguments, code=0):
        return samples.with_plugin(installed, folder, *arguments, code=code)

    run.folder = folder
    return run


class TestPlugIn:
    def test_it_is_short(self):
        assert len((PLUGIN / "dock_atoms" / "__init__.py").read_text().splitlines()) <= 70

    def test_train_and_predict(self, atoms, bundled, monkeypatch):
        assert "n_structures: 60" in atoms("train", "train.toml", "--check").stdout
        done = json.loads(atoms("train", "train.toml", "--json").stdout)
        assert done["best"].endswith("run/model/best.h5")
        monkeypatch.syspath_prepend(str(PLUGIN))
        from dock_atoms import BACKEND

        model = BACKEND.load(atoms.folder / "run")
        assert isinstance(model, Model)
        calc = dock.read(bundled / "water" / "055")
        found = model.predict(calc.structure, calc.overlap)
        assert found.hermiticity_error() == 0.0
        truth = calc.hamiltonian
        onsite = found.block([0, 0, 0], 0, 0), truth.block([0, 0, 0], 0, 0)
        np.testing.assert_allclose(onsite[0].diagonal(), onsite[1].diagonal(), atol=5.0)
        turn = -Rotation.random(random_state=1).as_matrix()
        turned = found.rotate(turn)
        again = model.predict(turned.structure, turned)
        assert np.abs((again - turned).entries).max() < 1e-12

    def test_its_refusals_are_sentences(self, atoms, bundled):
        toml = (atoms.folder / "train.toml").read_text().replace("water", "nothing")
        (atoms.folder / "bad.toml").write_text(toml)
        assert "no such folder" in atoms("train", "bad.toml", code=2).stderr

    def test_dock_infer_uses_it(self, atoms, bundled):
        atoms("train", "train.toml", "-q")
        calc = dock.read(bundled / "water" / "055")
        dock.write(
            dock.Calculation(calc.structure, calc.basis, calc.spin, {"overlap": calc.overlap}),
            atoms.folder / "molecule",
        )
        atoms("infer", "run", "molecule")
        made = dock.read(atoms.folder / "molecule").hamiltonian
        assert np.abs(made.entries).max() > 1
        assert "atoms" in atoms("model", "info", "run").stdout
