"""Every test file and every doctest is collected: pytest leaves folders of some names out."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
DOCTESTS = sorted(
    path
    for path in (ROOT / "dock").rglob("*.py")
    if path.name != "__main__.py" and ">>> " in path.read_text(encoding="utf-8")
)


def is_left_out(config: pytest.Config, path: Path, root: Path = ROOT) -> bool:
    """Ask pytest's own rules about a file and the folders above it (``norecursedirs``, …)."""
    return any(
        config.hook.pytest_ignore_collect(collection_path=place, config=config)
        for place in (path, *path.parents)
        if root in place.parents
    )


def test_every_test_file_is_collected(pytestconfig):
    assert len(TESTS) > 100
    assert [path for path in TESTS if is_left_out(pytestconfig, path)] == []
    patterns = pytestconfig.getini("python_files")
    assert all(any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns) for path in TESTS)


def test_every_module_with_doctests_is_collected(pytestconfig):
    assert len(DOCTESTS) > 60
    assert [path for path in DOCTESTS if is_left_out(pytestconfig, path)] == []
    assert pytestconfig.getoption("doctestmodules")
    assert {"tests", "dock"} <= set(pytestconfig.getini("testpaths"))


def test_the_rule_would_be_seen(pytestconfig, tmp_path):
    """A folder named ``build`` is one that pytest never enters."""
    for name in ("build", "structures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_one.py").touch()
    assert is_left_out(pytestconfig, tmp_path / "build" / "test_one.py", tmp_path)
    assert not is_left_out(pytestconfig, tmp_path / "structures" / "test_one.py", tmp_path)


@pytest.mark.parametrize("folder", ["tests", "dock"])
def test_files_that_look_like_tests_are_named_like_tests(folder):
    """A file with tests, whose name pytest does not know, is never run either."""
    strays = [
        path
        for path in (ROOT / folder).rglob("*.py")
        if not path.name.startswith("test_") and "\ndef test_" in path.read_text(encoding="utf-8")
    ]
    assert strays == []
