"""The registry of formats: names, detection, what is refused, broken plug-ins."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import samples

import dock
from dock.converters import (
    Format,
    ReadOptions,
    WriteOptions,
    detect,
    format_names,
    get_format,
    registry as formats,
    resolve,
)
from dock.core.spin import Spin
from dock.errors import DependencyError, FormatError, LossError, MissingDataError, UsageError


def test_every_format_keeps_its_promises():
    for name in format_names():
        one = get_format(name)
        assert one.name == name
        assert one.title
        assert one.read is not None or not one.reads, name
        assert one.write is not None or not one.writes, name
        assert one.read is not None or one.write is not None, name
        for quantity in {*one.reads, *one.writes}:
            assert quantity in dock.core.quantity.QUANTITIES


def test_detection(tmp_path, bundled):
    run = bundled / "openmx" / "si"
    folder = samples.unified(tmp_path / "x")
    for path, name, main in (
        (run, "openmx", run / "si.scfout"),
        (run / "si.out", "openmx", run / "si.scfout"),
        (folder, "deeph", folder),
        (folder / "hamiltonian.h5", "deeph", folder / "hamiltonian.h5"),
    ):
        found, place = detect(path)
        assert (found.name, place) == (name, main)
    (tmp_path / "empty").mkdir()
    assert detect(tmp_path / "empty") is None
    (tmp_path / "text.txt").write_text("hello")
    assert detect(tmp_path / "text.txt") is None


def test_resolve_says_what_was_expected(tmp_path, bundled):
    with pytest.raises(MissingDataError, match="no such file or folder"):
        resolve(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"not recognised.*openmx.*format=NAME") as caught:
        resolve(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FormatError, match=r"HS\.fileout on"):
        resolve(tmp_path, "openmx")
    with pytest.raises(UsageError, match=r"no format 'vasp'\. Known: .*deeph"):
        resolve(tmp_path, "vasp")
    with pytest.raises(UsageError, match="written, not read"):
        resolve(bundled, "openmx-restart")


class TestPromises:
    """A format that cannot hold something refuses before a file is opened."""

    @pytest.fixture
    def calc(self, bundled):
        return dock.read(bundled / "openmx" / "o2-spin")

    def test_spin(self, calc):
        one = replace(get_format("deeph"), write_spins=(Spin.NONE,))
        with pytest.raises(LossError, match="cannot hold collinear spin"):
            one.chosen(calc, WriteOptions())

    def test_quantities(self, calc):
        one = replace(get_format("deeph"), writes=("overlap", "hamiltonian"))
        with pytest.raises(LossError, match="density_matrix, position, gradient"):
            one.chosen(calc, WriteOptions())
        lossy = WriteOptions(allow_lossy=True)
        assert one.chosen(calc, lossy) == ("overlap", "hamiltonian")
        some = WriteOptions(quantities=("S", "hamiltonian", "H"))
        assert one.chosen(calc, some) == ("overlap", "hamiltonian")

    def test_what_is_not_there(self, calc):
        with pytest.raises(UsageError, match=r"no kinetic to write.*Matrices found: overlap"):
            get_format("deeph").chosen(calc, WriteOptions(quantities=("T",)))
        with pytest.raises(dock.DockError, match="'Q' is no matrix"):
            get_format("deeph").chosen(calc, WriteOptions(quantities=("Q",)))

    def test_settings(self, calc):
        with pytest.raises(UsageError, match="no setting colour"):
            get_format("deeph").chosen(calc, WriteOptions(settings={"colour": "red"}))

    def test_one_way(self):
        one = Format("x", "x")
        with pytest.raises(UsageError, match="read, not written"):
            one.require_writer()
        with pytest.raises(UsageError, match="written, not read"):
            one.require_reader()
        assert ReadOptions().basis is None


class TestBrokenPlugins:
    """A plug-in that cannot be loaded is named, and stops nobody who does not ask for it."""

    @pytest.fixture(autouse=True)
    def registry(self, monkeypatch):
        points = {
            "absent": EntryPoint("absent", "no_such_module_at_all:FORMAT", "dock.formats"),
            "nameless": EntryPoint("nameless", "dock.units:FORMAT", "dock.formats"),
            "foreign": EntryPoint("foreign", "dock.units:OPENMX", "dock.formats"),
        }
        monkeypatch.setattr(formats, "plugins", lambda: points)
        get_format.cache_clear()
        yield
        get_format.cache_clear()

    def test_asked_for(self):
        with pytest.raises(DependencyError, match=r"'absent'.*no_such_module"):
            get_format("absent")
        with pytest.raises(DependencyError, match="'nameless'"):
            get_format("nameless")
        with pytest.raises(UsageError, match="'foreign' is no dock Format"):
            get_format("foreign")

    def test_not_asked_for(self, bundled, tmp_path, caplog):
        assert detect(bundled / "openmx" / "si")[0].name == "openmx"
        assert detect(tmp_path) is None
        answer = samples.cli("formats")
        assert answer.code == 0
        assert "openmx" in answer.out
        for name in ("absent", "nameless", "foreign"):
            assert name not in answer.out
            assert name in answer.err
