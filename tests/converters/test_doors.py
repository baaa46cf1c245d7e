"""Each code's package has the doors of its formats: `read` and `write`, alike everywhere."""

import importlib
import inspect

import pytest

import dock
from dock.converters import WriteOptions, get_format
from dock.converters.registry import BUILT_IN
from dock.core.calculation import Calculation

DOORS = {
    name: module for name, (module, _) in BUILT_IN.items() if module.startswith("dock.converters.")
}
READ = {"path": None, "basis": None, "settings": None}
WRITE = ["calc", "path", "options", "settings", "overwrite", "allow_lossy", "marker"]


@pytest.mark.parametrize("name", DOORS)
def test_signatures(name):
    package, entry = importlib.import_module(DOORS[name]), get_format(name)
    if entry.read is not None:
        parameters = inspect.signature(package.read).parameters
        assert list(parameters)[:3] == list(READ)
        assert all(one.default is None for one in list(parameters.values())[1:])
        assert "read" in package.__all__
        assert inspect.getdoc(package.read)
    if entry.write is not None:
        door = package.write_restart if name == "openmx-restart" else package.write
        assert list(inspect.signature(door).parameters) == WRITE
        assert door.__name__ == "write_restart" or "write" in package.__all__


RUNS = {
    "deeph": "unified/si",
    "openmx": "openmx/si",
    "siesta": "siesta/h2o",
    "abacus": "abacus/si2_get_S",
}


@pytest.mark.parametrize("name", RUNS)
def test_there_and_back(tmp_path, bundled, name):
    package = importlib.import_module(DOORS[name])
    calc = package.read(bundled / RUNS[name])
    assert isinstance(calc, Calculation)
    files = package.write(calc, tmp_path / "out", allow_lossy=True)
    assert all(file.is_file() for file in files)
    again = package.read(tmp_path / "out")
    assert again.structure.is_close(calc.structure, 1e-6)


@pytest.mark.parametrize("name", ["wannier90", "petsc", "npz"])
def test_exits(tmp_path, bundled, name):
    calc = dock.read(bundled / "openmx" / "h2o")
    files = importlib.import_module(DOORS[name]).write(
        calc, tmp_path / name, WriteOptions(quantities=("H", "S"))
    )
    assert files
    assert all(file.parent == tmp_path / name for file in files)


def test_settings_and_overwriting(tmp_path, bundled):
    """What a setting or a target says wrong is said in Python's words."""
    from dock.converters import abacus, siesta

    with pytest.raises(dock.DockError, match="no setting colour"):
        siesta.read(bundled / "siesta" / "h2o", settings={"colour": "red"})
    with pytest.raises(dock.DockError, match="step is a number"):
        abacus.read(bundled / "abacus" / "si2_get_S", settings={"step": "last"})
    calc = siesta.read(bundled / "siesta" / "h2o")
    siesta.write(calc, tmp_path / "out", settings={"name": "water"})
    with pytest.raises(dock.DockError, match="exists already"):
        siesta.write(calc, tmp_path / "out", settings={"name": "water"})
    assert siesta.write(calc, tmp_path / "out", settings={"name": "water"}, overwrite=True)
