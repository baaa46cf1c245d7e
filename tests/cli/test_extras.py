"""Every command without the optional packages: it does its work, or ends with 3 and a pip line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from every_command import ROOT, TEMPLATES, Bench

import dock.extras
from dock.errors import DependencyError

SCRIPT = """
import importlib.abc, json, os, sys
sys.path.insert(0, sys.argv[1])
if hasattr(os, "sched_getaffinity"):
    del os.sched_getaffinity  # as on macOS
gone = set()

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Gone())
import samples

for line in sys.stdin:
    without, words = json.loads(line)
    gone.clear()
    gone.update(without)
    roots = {*gone, "dock.models.network"}  # whose modules import them at once
    hidden = [x for x in sys.modules if any(x == y or x.startswith(y + ".") for y in roots)]
    kept = {name: sys.modules.pop(name) for name in hidden}
    code, out, err = samples.cli(*words)
    sys.modules.update(kept)
    print(json.dumps([code, err]), flush=True)
"""
MODULES = {name: modules.split() for name, modules in dock.extras._EXTRAS.items()}
EACH = (
    ("train {network}", "jax", "models"),
    ("infer {network_model} {path} -o {out}/a", "jax", "models"),
    ("model info {network_model}", "jax", "models"),
    ("bands {path} --points 2 --plot {out}/b.png -o {out}/b.h5", "matplotlib", "plot"),
    ("dos {path} --mesh 1 1 1 --plot {out}/d.png -o {out}/d.h5", "matplotlib", "plot"),
    ("plot {path}/band.h5 -o {out}/again.png", "matplotlib", "plot"),
    ("evaluate {path}/hamiltonian.h5 {path} --plot -o {out}/e", "matplotlib", "plot"),
    ("dataset stats {above} --plot {out}/s.png -o {out}/s.h5", "matplotlib", "plot"),
    ("convert {path} --to npz --mpi -o {out}/m", "mpi4py", "mpi"),
    ("bands {path} --points 2 --mpi -o {out}/m.h5", "mpi4py", "mpi"),
    ("convert {path} --to sisl --allow-lossy -o {out}/s", "sisl", "sisl"),
    ("convert {path} --to sisl --allow-lossy --set file=nc -o {out}/n", "netCDF4", "sisl"),
    ("convert {chk} -o {out}/p", "pyscf", "pyscf"),
    ("info {chk}", "pyscf", "pyscf"),
    ("model info {program}", "flatbuffers", "models"),
    ("train {network}", "optax", "models"),
)
"""What needs a package: the command, the package, the extra that brings it."""
NEEDY = ("--plot", "plot {path}", "--mpi", "sisl", "network")
SKIPPED = ("wannier90", "compute-overlap", "model export")
"""What optimises or compiles for seconds without any package; and what needs a real network."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Bench.make(tmp_path_factory.mktemp("bench"))


def answers(place, questions):
    """Run commands in one process, each without some packages; yield exit code and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "tests")],
        input="".join(json.dumps(question) + "\n" for question in questions),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_any_extra(place, bundled, tmp_path):
    gone = [name for modules in MODULES.values() for name in modules]
    templates = [line for line in TEMPLATES if not any(word in line for word in SKIPPED)]
    questions = []
    for number, template in enumerate(templates):
        out = tmp_path / str(number)
        out.mkdir()
        questions.append((gone, place.words(template, bundled / "unified" / "si", out)))
    for template, (code, err) in zip(templates, answers(place, questions), strict=True):
        needy = any(word in template for word in NEEDY) and "--check" not in template
        assert code in ((3,) if needy else (0, 2)), (template, code, err)
        assert ("pip install 'dock-dft[" in err) == needy, (template, err)
    assert {path.name for path in tmp_path.rglob(".*")} <= {".dock.json"}


def test_each_in_turn(place, bundled, tmp_path):
    questions = []
    for template, module, _ in EACH:
        chk = bundled / "pyscf" / "h2o" / "h2o.chk"
        text = template.replace("{chk}", str(chk)).replace(
            "{program}", str(place.place / "program.h5")
        )
        questions.append(([module], place.words(text, bundled / "unified" / "si", tmp_path)))
    for (template, module, extra), (code, err) in zip(EACH, answers(place, questions), strict=True):
        assert code == 3, (template, module, code, err)
        assert f"pip install 'dock-dft[{extra}]'" in err, (template, err)
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_a_package_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(
        "importlib.import_module", lambda _: (_ for _ in ()).throw(ImportError("too old"))
    )
    with pytest.raises(DependencyError, match=r"jax is needed.*cannot be imported \(too old\)"):
        dock.extras.require("jax.export", "models")
    found = dock.extras.missing(ModuleNotFoundError("no", name="mpi4py.MPI"))
    assert "dock-dft[mpi]" in str(found)
    assert dock.extras.missing(ModuleNotFoundError("no", name="numpy")) is None
    assert dock.extras.missing(ImportError("no")) is None
