"""What commands print: the library's words in those of the command line, a result, JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dock.results import Result

_SAME = (
    "allow_lossy at band bands basis charges code drude electrons extent fermi jobs like "
    "matrix_only mesh method moments mpi oversample overwrite pairs part_edges s_threshold shard "
    "shear solver spacing states step strict tolerance window"
)
_OPTIONS = {name: f"--{name.replace('_', '-')}" for name in _SAME.split()} | {
    "fermi_level": "--fermi",
    "format": "--from",
    "is_thorough": "--thorough",
    "output": "-o",
    "quantities": "--matrices",
    "source": "--from",
    "target": "--to",
}
"""What the library calls an argument and the command line an option."""

_ARGUMENT = re.compile(r"(?<![\w'\"\-])(\w+)=(?:\(([^()]*)\)|('?)([\w.…-]*[\w…])\3)")
_SETTING = re.compile(r"settings=\{'(\w+)': '([^']*)'\}")
_IN_PYTHON = ", or add it with compute_overlap (quantities S and r)"
"""A way out that no option has."""
_CHARGE = re.compile(r"charges=\{'(\w+)': (\w+)\}")


def in_options(message: str) -> str:
    """Return a message of the library in the words of the command line.

    Examples
    --------
    >>> in_options("band.h5: exists already. Pass overwrite=True to replace it.")
    'band.h5: exists already. Give --overwrite to replace it.'
    >>> in_options("to leave out what is nearly dependent, pass s_threshold=1e-5.")
    'to leave out what is nearly dependent, give --s-threshold 1e-5.'
    >>> in_options("Pass settings={'mode': 'periodic'}, or source='siesta'.")
    'Give --set mode=periodic, or --from siesta.'
    >>> in_options("no permission to write there. Choose another place.")
    'no permission to write there. Choose another place with -o.'
    >>> in_options("Pass mesh=(N1, N2, N3).")
    'Give --mesh N1 N2 N3.'
    >>> in_options("Pass charges={'O': Z}: the electrons that its pseudopotential leaves.")
    'Give --charges O=Z: the electrons that its pseudopotential leaves.'
    """

    def option(found: re.Match[str]) -> str:
        if found[1] not in _OPTIONS:
            return found[0]
        words = found[4] if found[2] is None else found[2].replace(",", "")
        value = "" if words == "True" else f" {words}"
        return f"{_OPTIONS[found[1]]}{value}"

    message = message.replace(_IN_PYTHON, "")
    message = _CHARGE.sub(r"--charges \1=\2", message)
    message = _SETTING.sub(r"--set \1=\2", _ARGUMENT.sub(option, message))
    message = re.sub(r"(?<=hoose another place)(?=\.)", " with -o", message)
    for verb, ours in (("Pass", "Give"), ("pass", "give")):
        message = re.sub(rf"\b{verb} (?=((a|an) )?(\w+ )?--?\w)", f"{ours} ", message)
    return message


def report(result: Result, files: Sequence[Path], *, as_json: bool) -> str:
    """Return a result's table and the files that it went to, or its facts as one line of JSON."""
    if as_json:
        from dock.io.text import json_text

        content = {**result.json(arrays=False), "files": [str(file) for file in files]}
        return json_text(content)
    return "\n".join([in_options(result.table()), *map(str, files)])


def print_pause(text: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a job says that ends before its result."""
    if as_json:
        print_json(facts)
    else:
        click.echo(in_options(text))


def print_json(content: Any) -> None:
    """Print one JSON object on a line of its own."""
    from dock.io.text import json_text

    click.echo(json_text(content))
