"""What the tests of CP2K share: the bundled runs, unpacked, and copies of them to damage."""

import json
import shutil
import tarfile

import pytest
import samples


@pytest.fixture(scope="session")
def runs(tmp_path_factory, bundled):
    """The folder of the bundled runs; not to be changed."""
    folder = tmp_path_factory.mktemp("cp2k")
    with tarfile.open(bundled / "cp2k" / "runs.tar.xz") as packed:
        packed.extractall(folder, **samples.TAR_FILTER)  # noqa: S202 - our own archive
    return folder


@pytest.fixture(scope="session")
def reference(bundled):
    return json.loads((bundled / "cp2k" / "reference.json").read_text())


@pytest.fixture
def copy(runs, tmp_path):
    """Return a function that copies a run."""

    def make(name):
        shutil.copytree(runs / name, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def edit():
    """Return a function that replaces words in a file, which must have them."""

    def change(path, old, new, count=-1):
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new, count))

    return change
