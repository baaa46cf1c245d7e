"""Text behind the scfout, bytes that are no UTF-8 in it, and paths in the names of basis files."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import samples

import dock
from dock.converters.openmx import pao
from dock.converters.openmx.check import check_run
from dock.converters.openmx.dat import parse_input
from dock.converters.openmx.scfout import ScfoutFile, write_scfout
from dock.converters.openmx.species import Species
from dock.errors import FormatError


@pytest.fixture
def appended(tmp_path, bundled):
    """``cat openmx.out >> openmx.scfout``, as the recipes of DeepH-pack and DeepH-E3 say."""
    run = tmp_path / "run"
    run.mkdir()
    source = bundled / "openmx" / "si"
    content = (source / "si.scfout").read_bytes() + (source / "si.out").read_bytes()
    (run / "openmx.scfout").write_bytes(content)
    return run


def test_the_report_behind_the_file(appended, bundled, tmp_path):
    calc = dock.read(appended)
    samples.same_matrices(calc, dock.read(bundled / "openmx" / "si"))
    assert any("end of the scfout" in note for note in calc.provenance.extra["notes"])
    findings = {one.what: one for one in check_run(appended / "openmx.scfout")}
    assert findings["scf"].level == "ok"
    assert samples.cli("convert", appended, "-o", tmp_path / "x").code == 0
    content = (appended / "openmx.scfout").read_bytes()
    lines = content.partition(b"SCF history at MD=")
    (appended / "openmx.scfout").write_bytes(lines[0])  # a report without its cycle
    findings = {one.what: one for one in check_run(appended / "openmx.scfout")}
    assert findings["scf"].level == "error"
    shutil.copy(bundled / "openmx" / "si" / "si.out", appended / "openmx.out")
    file = ScfoutFile.open(appended / "openmx.scfout")
    assert file.report == appended / "openmx.out"  # a file of its own comes first
    assert dock.read(appended).notes[-1].endswith("append it: the .out file is read.")


@pytest.mark.parametrize("rest", [b"\0" * 64, b"some text\n", b"performed by OpenMX \0\0"])
def test_anything_else_behind_it_is_refused(tmp_path, bundled, rest):
    content = (bundled / "openmx" / "si" / "si.scfout").read_bytes()
    (tmp_path / "si.scfout").write_bytes(content + rest)
    with pytest.raises(FormatError, match="longer than its header says"):
        dock.read(tmp_path / "si.scfout")


def with_text(source, target, change):
    """Write an scfout file whose embedded input is another text."""
    content = ScfoutFile.open(source).load()
    write_scfout(target, dataclasses.replace(content, input_text=change(content.input_text)))


def test_bytes_that_are_no_utf8(tmp_path, bundled):
    """A comment in Shift-JIS, in a folder whose name is Latin-1: there and back, bit by bit."""
    folder = os.fsdecode(bytes(tmp_path) + b"/r\xe9sum\xe9")
    Path(folder).mkdir()
    source = bundled / "openmx" / "si" / "si.scfout"
    text = "# " + b"\x83V\x83\x8a\x83R\x83\x93".decode("utf-8", "surrogateescape") + "\n"
    with_text(source, f"{folder}/si.scfout", lambda own: text + own)
    answer = samples.cli("convert", folder, "-o", f"{folder}/out")
    assert answer.code == 0, answer
    assert ScfoutFile.open(f"{folder}/si.scfout").input_text.startswith(text)
    content = (tmp_path / folder / "out" / "info.json").read_bytes()
    content.decode("utf-8")
    answer = samples.cli("convert", f"{folder}/out", "--to", "openmx", "-o", f"{folder}/back")
    assert answer.code == 0, answer
    back = ScfoutFile.open(f"{folder}/back/si.scfout").input_text
    assert back == ScfoutFile.open(f"{folder}/si.scfout").input_text
    for words in (["info", f"{folder}/out", "--json"], ["check", f"{folder}/out"]):
        assert samples.cli(*words).code == 0


def test_paths_in_the_names_of_basis_files(tmp_path, bundled):
    """OpenMX joins what is typed to DATA.PATH: users go up from there to their own files."""

    def change(text):
        return text.replace("Si7.0-s2p1", "/home/me/pao/Si7.0-s2p1").replace(
            "Si_PBE19", "../../vps/Si_PBE19"
        )

    source = bundled / "openmx" / "si" / "si.scfout"
    with_text(source, tmp_path / "si.scfout", change)
    calc = dock.read(tmp_path / "si.scfout")
    samples.same_matrices(calc, dock.read(source))
    assert calc.structure.symbols == ("Si", "Si")
    kind = parse_input(calc.provenance.extra["input"], "x").species[0]
    assert (kind.pao.file_name, kind.pao.base_name) == ("/home/me/pao/Si7.0", "Si7.0")
    with pytest.raises(dock.DockError, match=r"Si7\.0\.pao"):
        pao.shells_of_pao(Species.parse("Si", "../a-b/Si7.0-s2p1", "../v/Si_PBE19"), tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["K1-openmx-appended/O30_cat", "K11-bytes/O18_sjis", "small/O4_vps_abs"]
)
def test_cases(shared, tmp_path, name):
    answer = samples.cli("convert", shared / "cases" / name, "-o", tmp_path / "x")
    assert answer.code == 0, answer
    assert samples.cli("check", tmp_path / "x").code == 0
