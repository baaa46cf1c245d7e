"""A plug-in package: found by its entry point, used like a built-in format."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))
import samples
from processes import CONVERSION, Nursery

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SI = ROOT / "fixtures" / "openmx" / "si"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return samples.installed(HERE, "dock_toy", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def nursery():
    with Nursery(CONVERSION) as started:
        yield started


@pytest.fixture
def toy(installed, nursery, tmp_path):
    """Run ``dock`` in a new process that has the plug-in."""

    def run(*arguments, code=0):
        done = nursery.start(*arguments, cwd=tmp_path, path=[installed])
        done.end()
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_the_plug_in_is_short():
    assert len((HERE / "dock_toy" / "__init__.py").read_text().splitlines()) <= 80


def test_it_is_listed(installed, tmp_path):
    done = samples.with_plugin(installed, tmp_path, "formats", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[-1]["name"] == "toy"
    assert rows[-1]["reads"] == ["S", "H"]


def test_it_converts_both_ways(toy, tmp_path):
    answer = toy("convert", SI, "--to", "toy", "-o", "t", code=2)
    assert "cannot hold the density_matrix" in answer.stderr
    assert not (tmp_path / "t").exists()
    toy("convert", SI, "--to", "toy", "-o", "t", "--matrices", "H,S")
    assert "recognised: toy" in toy("convert", "t", "-o", "back").stderr
    for line in toy("diff", "back", SI, "--json").stdout.splitlines():
        assert json.loads(line)["max"] == 0
    assert "nothing to do" in toy("convert", "t", "-o", "back").stdout
    assert json.loads(toy("info", "t", "--json").stdout)["fermi_level_eV"] == pytest.approx(
        -1.930082
    )
    toy("convert", "t", "--to", "openmx", "-o", "run")
    toy("bands", "t", "--path", "LG", "--points", "5", "-o", "b.h5")


def test_its_promises_and_errors_are_kept(toy, tmp_path):
    spin = ROOT / "fixtures" / "openmx" / "o2-spin"
    answer = toy("convert", spin, "--to", "toy", "--matrices", "H,S", code=2)
    assert "cannot hold collinear spin" in answer.stderr
    (tmp_path / "bad").mkdir()
    for content in (b"", b"PK\3\4" + b"x" * 99, b"text"):
        (tmp_path / "bad" / "calc.toy.npz").write_bytes(content)
        assert "bad/calc.toy.npz" in toy("info", "bad", code=2).stderr
