"""Runs of SIESTA for the tests: bundled ones to be copied, reference ones to be unpacked."""

import lzma
import shutil

import pytest


@pytest.fixture
def copy_run(bundled, tmp_path):
    """Return a function that copies a bundled run into a folder that may be changed."""

    def copy(name, *, without=()):
        target = tmp_path / name
        target.mkdir()
        for file in (bundled / "siesta" / name).iterdir():
            if file.suffix not in without:
                shutil.copy(file, target / file.name)
        return target

    return copy


@pytest.fixture
def unpack(shared, tmp_path):
    """Return a function that makes a reference run's folder, its .xz files unpacked."""

    def run(*parts):
        source = shared.joinpath(*parts)
        target = tmp_path / source.name
        target.mkdir(exist_ok=True)
        for file in source.iterdir():
            if file.is_dir() or file.name.endswith(".tar.xz"):
                continue
            if file.suffix == ".xz":
                (target / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
            elif not (target / file.name).exists():
                (target / file.name).symlink_to(file)
        return target

    return run
