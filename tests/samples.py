"""Helpers of the suite: run the command line in this process, make and list folders."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import h5py
import numpy as np

import dock
from dock.cli import _run

ROOT = Path(__file__).resolve().parents[1]
OPENMX = ROOT / "fixtures" / "openmx"
TAR_FILTER = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""How archives are unpacked; Python 3.11 before 3.11.4 knows no filters."""
BUNDLED = sorted(file.parent.name for file in OPENMX.glob("*/reference.json"))


class Answer(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def cli(*arguments: object, stdin: str = "") -> Answer:
    """Run ``dock`` with the given arguments in this process; nothing may escape it."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(argument) for argument in arguments]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.object(sys, "argv", ["dock", *words]),
    ):
        code = _run(words)
    return Answer(code, out.getvalue(), err.getvalue())


def refused(answer: Answer, *words: object, code: int = 2) -> None:
    """Assert that a command ended with a sentence on stderr that has the words."""
    assert answer.code == code, answer
    assert "Traceback" not in answer.out + answer.err
    for word in words:
        assert str(word) in answer.err, answer.err


def named(error: Exception, path: Path) -> None:
    """Assert that an error names a file."""
    assert str(path) in str(error)


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones included, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(folder: Path) -> list[str]:
    """Return all names in a folder, hidden ones included."""
    return sorted(path.name for path in folder.iterdir())


def unified(target: Path, system: str = "si", **changes: object) -> Path:
    """Write the unified folder of a bundled OpenMX system; `changes` go to info.json."""
    import json

    dock.write(dock.read(OPENMX / system, "openmx"), target)
    if changes:
        path = target / "info.json"
        content = json.loads(path.read_text())
        for key, value in changes.items():
            if value is None and key == "dock":
                del content[key]
            else:
                content[key] = value
        path.write_text(json.dumps(content))
    return target


def foreign(target: Path, system: str = "si") -> Path:
    """Write a unified folder as another program would: no attributes, no key ``dock``."""
    unified(target, system, dock=None)
    for file in target.glob("*.h5"):
        with h5py.File(file, "r+") as h5:
            for name in list(h5.attrs):
                del h5.attrs[name]
    return target


def rewrite(file: Path, **changes: object) -> None:
    """Replace datasets of an HDF5 file; a function gets the old values."""
    with h5py.File(file, "r+") as h5:
        for name, change in changes.items():
            new = change(h5[name][()]) if callable(change) else change
            del h5[name]
            if new is not None:
                h5.create_dataset(name, data=new)


def run_folder(target: Path, system: str = "si") -> Path:
    """Copy a bundled OpenMX run."""
    target.mkdir(parents=True)
    for suffix in (".scfout", ".out", ".dat"):
        shutil.copy(OPENMX / system / f"{system}{suffix}", target)
    return target


def same_matrices(one: dock.Calculation, two: dock.Calculation, relative: float = 0.0) -> None:
    """Assert that both have the same matrices; the deviation is relative to the largest entry."""
    assert set(one.available) == set(two.available)
    assert one.spin is two.spin
    for name in one.available:
        first, second = one.require(name).aligned(two.require(name))
        second = second.on_pairs(first.pairs)
        scale = np.abs(first.entries).max()
        deviation = np.abs(first.entries - second.entries).max()
        assert deviation <= relative * scale, (name, deviation, scale)


def beside(file: str | Path, name: str) -> ModuleType:
    """Import a helper that lies beside a test file; its name is no module of the suite."""
    path = Path(file).with_name(f"{name}.py")
    full_name = f"{path.parent.name}_{name}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # dataclasses look there for what annotations mean
    spec.loader.exec_module(module)
    return module


def installed(project: Path, package: str, site: Path) -> Path:
    """Make what an installer makes: a package and its entry points on the path; return `site`."""
    facts = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = site / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: 0.1\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items())
        for group, points in facts["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (site / package).symlink_to(project / package)
    return site


def copied(source: Path, target: Path, *names: str) -> Path:
    """Copy some files of a folder into a new one."""
    target.mkdir()
    for name in names:
        shutil.copy(source / name, target)
    return target


def plain_scfout() -> ModuleType:
    """Return the independent reader and maker of scfout files."""
    return beside(ROOT / "tests" / "converters" / "openmx" / "x", "independent_scfout")


@contextlib.contextmanager
def mended(path: Path) -> Iterator[bytes]:
    """Give the content of a file that will be damaged; it is restored in the end."""
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


def cut_short(path: Path, chance: random.Random, count: int) -> Iterator[int]:
    """Cut a file at its ends, in the middle and at random places, yielding each; then mend it."""
    with mended(path) as content:
        ends = {0, 1, len(content) // 2, len(content) - 2}
        ends |= {chance.randrange(len(content)) for _ in range(count)}
        for end in sorted(end for end in ends if 0 <= end < len(content)):
            path.write_bytes(content[:end])
            yield end


def bits_flipped(path: Path, chance: random.Random, count: int) -> Iterator[None]:
    """Flip one bit of a file at random, `count` times one after another; then mend it."""
    with mended(path) as content:
        for _ in range(count):
            damaged = bytearray(content)
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            yield


def flipped(path: Path, rng: np.random.Generator, count: int) -> Iterator[int]:
    """Flip one bit of a file, `count` times one after another, yielding the byte; then mend it."""
    with mended(path) as whole:
        for place in rng.integers(0, len(whole), count):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.integers(0, 7)
            path.write_bytes(bytes(damaged))
            yield int(place)


def with_plugin(installed: Path, folder: Path, *arguments: object, code: int = 0):
    """Run ``dock`` in a new process that finds a plug-in in its own site-packages."""
    path = os.pathsep.join([str(installed), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-B", "-m", "dock", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done
