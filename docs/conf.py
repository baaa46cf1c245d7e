"""Sphinx configuration. Build with ``sphinx-build -W docs docs/_build``."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402 - the script beside this file

from dock import __version__  # noqa: E402

project = "dock"
author = "The dock developers"
copyright = "2026, the dock developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated/cli.md", "_generated/plugin.md"]
suppress_warnings = [
    "ref.python",  # a type of the same name in two modules
]
html_theme = "furo"
html_title = f"dock {release}"
default_role = "code"

autodoc_default_options = {"member-order": "bysource", "no-value": True}
autodoc_typehints = "signature"
autodoc_type_aliases = {
    name: name
    for name in ("ArrayLike", "DTypeLike", "FloatArray", "IntArray", "NumberArray", "MatrixSource")
}
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False


def _help_napoleon(*arguments):
    """Give each of ``a, b`` in a list of attributes an entry of its own, as parameters get.

    In the summary of a property napoleon takes what stands before a colon for a type.
    """
    kind, lines = arguments[1], arguments[-1]
    if kind in {"property", "attribute"} and lines:
        lines[0] = lines[0].replace(": ", " – ")
    for index in reversed(range(len(lines))):
        names = re.fullmatch(r"(\w+(?:, \w+)+)", lines[index])
        if names and index + 1 < len(lines) and lines[index + 1].startswith("    "):
            end = index + 1
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            text = lines[index + 1 : end]
            lines[index:end] = [line for name in names[1].split(", ") for line in (name, *text)]


def _escape_bars(*arguments):
    """Keep reStructuredText from taking |Δ| for a substitution, outside literals."""
    lines = arguments[-1]
    for index, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`[^`]*`)", line)
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[index] = "".join(parts)


def setup(app):
    generate.write_pages(HERE / "_generated")
    app.connect("autodoc-process-docstring", _help_napoleon, priority=100)
    app.connect("autodoc-process-docstring", _escape_bars)
