"""What the tests of CP2K share: the bundled runs, unpacked, and copies of them to damage."""

import json
import shutil

import pytest
import samples


@pytest.fixture(scope="session")
def validation():
    return samples.beside(__file__, "validation")


@pytest.fixture(scope="session")
def runs(tmp_path_factory, validation):
    """The folder of the bundled runs; not to be changed."""
    return validation.unpacked(tmp_path_factory.mktemp("cp2k"))


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
