"""The generated parts of README and documentation say what the program says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dock.cli import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_up_to_date(generate):
    stale = [page.name for page in generate.outdated()]
    assert stale == [], "run: python docs/generate.py"


def test_pages_with_tables_are_found(generate):
    names = {page.name for page in generate.pages_with_tables()}
    pages = {"README.md", "conventions.md", "format.md", "formats.md", "options.md", "results.md"}
    assert names == pages


def test_every_built_in_format_is_in_the_readme(generate):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{one.name}` |" in text for one in generate._formats())


def test_a_stale_table_is_renewed(generate):
    page = "a <!-- begin: quantities (x) --> old <!-- end: quantities --> b"
    fresh = generate.with_fresh_tables(page)
    assert "| `H` | hamiltonian | eV |" in fresh
    assert "old" not in fresh
    assert generate.with_fresh_tables(fresh) == fresh


def test_every_command_has_help_in_the_manual(generate):
    text = generate.command_line()
    assert all(f"### `dock {command}`" in text for command in cli.list_commands(None))


def test_the_quick_start_is_that_of_the_readme(generate):
    convert, bands = generate.quick_start()
    assert convert.startswith("convert fixtures/openmx/si ")
    assert bands.endswith("si-bands.png")


def test_figures_are_there_and_small(generate):
    for name in ("si-bands.png", "harmonics.png"):
        figure = ROOT / "docs" / "images" / name
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert figure.stat().st_size < 200_000
