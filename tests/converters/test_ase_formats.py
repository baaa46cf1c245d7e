"""ASE reads runs through the entry points of the package, and nothing else is imported for it."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.io import formats

import dock
from dock.core.structure import Structure
from dock.errors import DockError

ROOT = Path(__file__).resolve().parents[2]
GROUP = "ase.ioformats"

FILES = {
    "openmx/si/si.scfout": "dock-openmx",
    "openmx/mos2/mos2.scfout": "dock-openmx",
    "siesta/graphene/graphene.HSX": "dock-siesta",
    "siesta/mg/el_032.TSHS": "dock-siesta",
    "abacus/graphene/OUT.ABACUS/running_scf.log": "dock-abacus",
    "abacus/v311_graphene/OUT.ABACUS/running_scf.log": "dock-abacus",
    "unified/si/hamiltonian.h5": "dock",
    "unified/si/overlap.h5": "dock",
}
FOLDERS = ["openmx/si", "siesta/h2o", "abacus/graphene", "unified/si", "water/000"]


def entry_points():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["entry-points"][GROUP]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register what pyproject.toml names as ASE does at its start, in a table of its own."""
    mine = entry_points()
    others = {name: one for name, one in formats.ioformats.items() if name not in mine}
    monkeypatch.setattr(formats, "ioformats", others)
    for name, value in mine.items():
        formats.define_external_io_format(EntryPoint(name, value, GROUP))


def assert_same(atoms, calc):
    np.testing.assert_array_equal(atoms.numbers, calc.structure.numbers)
    np.testing.assert_array_equal(atoms.positions, calc.structure.positions)
    np.testing.assert_array_equal(atoms.cell[:], calc.structure.cell)
    assert tuple(atoms.pbc) == calc.structure.pbc


@pytest.mark.parametrize(("name", "format_name"), FILES.items())
def test_files(bundled, name, format_name):
    assert formats.filetype(str(bundled / name)) == format_name
    assert_same(ase.io.read(bundled / name), dock.read(bundled / name))


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_any_run(bundled, name):
    assert_same(ase.io.read(bundled / name, format="dock"), dock.read(bundled / name))


def test_there_and_back(bundled):
    atoms = ase.io.read(bundled / "openmx" / "mos2" / "mos2.scfout")
    assert Structure.of(atoms).is_close(dock.read(bundled / "openmx" / "mos2").structure)


def test_logs_that_ase_reads_itself_stay_its_own(tmp_path):
    """A name like ABACUS's is not enough: the file says whose it is."""
    run = tmp_path / "running_1.log"
    run.write_text(" Entering Gaussian System, Link 0=g16\n")
    assert formats.filetype(str(run)) == "gaussian-out"


def test_what_is_damaged_is_said(tmp_path, bundled):
    cut = (bundled / "openmx" / "si" / "si.scfout").read_bytes()[:3000]
    (tmp_path / "cut.scfout").write_bytes(cut)
    with pytest.raises(DockError, match=r"cut\.scfout"):
        ase.io.read(tmp_path / "cut.scfout")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DockError, match="not recognised"):
        ase.io.read(tmp_path / "empty", format="dock")


def test_as_installed(bundled, tmp_path):
    """A process that finds the package's metadata: ASE itself looks for the entry points."""
    about = tmp_path / "dock_dft-9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dock-dft\nVersion: 9\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entry_points().items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    script = (
        "import json, sys; import ase.io\n"
        "before = sorted(name for name in sys.modules if name.startswith(('dock', 'h5py')))\n"
        "atoms = ase.io.read(sys.argv[1])\n"
        "print(json.dumps([before, atoms.get_chemical_formula()]))"
    )
    run = str(bundled / "siesta" / "graphene" / "graphene.HSX")
    paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}
    made = subprocess.run(
        [sys.executable, "-c", script, run], env=paths, capture_output=True, text=True, check=True
    )
    before, formula = json.loads(made.stdout)
    assert formula == "C2"
    assert "dock.converters.ase_formats" in before
    assert not {"h5py", "dock.converters.registry", "dock.core.matrix"} & set(before)
