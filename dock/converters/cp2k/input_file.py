"""CP2K's input: sections within sections, after the preprocessor's variables and includes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dock.errors import FormatError, MissingDataError
from dock.io.text import load_text

__all__ = ["Section", "read_input"]

_NO = {"F", "FALSE", ".FALSE.", ".F.", "NO", "OFF"}
_VARIABLE = re.compile(r"\$\{(\w+)(?:-([^}]*))?\}|\$(\w+)")
_DEEPEST = 20
_KNOWN = {"@SET", "@INCLUDE"}
_FIX = "Write the lines that hold into the input by hand, and name it as the log does."


@dataclass
class Section:
    """One section of the input.

    Attributes
    ----------
    name, parameter
        Name in capitals, and what stands behind it: ``KIND`` and ``Si``.
    lines
        Its own lines in order, without comments: keywords, or the rows of a table.
    sections
        The sections within.
    """

    name: str
    parameter: str = ""
    lines: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def all(self, name: str) -> list[Section]:
        """Return the sections of a name."""
        return [section for section in self.sections if section.name == name]

    def find(self, *names: str) -> Section | None:
        """Return the section under a path of names, or None."""
        place: Section | None = self
        for name in names:
            place = next(iter(place.all(name)), None) if place is not None else None
        return place

    def values(self, *keywords: str) -> list[str]:
        """Return what stands behind a keyword, or any of its other names, each time."""
        words = [line.split(maxsplit=1) for line in self.lines]
        chosen = [word for word in words if word[0].upper() in keywords]
        return [word[1].strip() if len(word) > 1 else "" for word in chosen]

    def value(self, *keywords: str) -> str | None:
        """Return what stands behind a keyword, the first time; None where it is not there."""
        return next(iter(self.values(*keywords)), None)

    def flag(self, *keywords: str) -> bool:
        """Say whether a logical keyword is there and not false."""
        value = self.value(*keywords)
        return value is not None and value.upper() not in _NO


def read_input(path: Path) -> Section:
    """Read an input or a restart file as one section that has all others.

    ``@SET``, ``@INCLUDE`` and variables are followed.

    Raises
    ------
    FormatError
        When a section does not end, or the preprocessor is asked for something else (``@IF``).
    MissingDataError
        When an included file is not there.
    """
    root = Section("")
    stack = [root]
    for where, line in _lines(path, {}, 0):
        if not line.startswith("&"):
            stack[-1].lines.append(line)
            continue
        name, _, parameter = line[1:].strip().partition(" ")
        if name.upper() != "END":
            section = Section(name.upper(), parameter.strip())
            stack[-1].sections.append(section)
            stack.append(section)
            continue
        expected = stack[-1].name if len(stack) > 1 else "no section to end"
        if len(stack) == 1 or parameter.strip().upper() not in {"", expected}:
            raise FormatError(
                path,
                "the sections do not fit into one another",
                where=where,
                expected=f"&END {expected}" if len(stack) > 1 else expected,
                found=line,
                fix="The input is cut or another file: copy it again.",
            )
        stack.pop()
    if len(stack) > 1:
        raise FormatError(
            path,
            "the file ends within a section",
            expected=f"&END {stack[-1].name}",
            found="the end of the file",
            fix="The input is cut: copy it again.",
        )
    return root


def _lines(path: Path, variables: dict[str, str], depth: int) -> Iterator[tuple[str, str]]:
    """Yield place and content of each line behind the preprocessor, comments left out."""
    if depth > _DEEPEST:
        raise FormatError(path, "the files include one another without end", fix=_FIX)
    text = re.sub(r"\\[ \t]*\r?\n", " ", load_text(path, "an input of CP2K", "CP2K"))
    for number, raw in enumerate(text.splitlines(), 1):
        line = _substituted(path, number, re.split(r"[!#]", raw, maxsplit=1)[0], variables).strip()
        if not line:
            continue
        if not line.startswith("@"):
            yield f"line {number} of {path.name}", line
            continue
        word, _, rest = line.partition(" ")
        if word.upper() not in _KNOWN:
            raise FormatError(
                path,
                f"the preprocessor's {word} is not followed",
                where=f"line {number}",
                expected="@SET, @INCLUDE and variables",
                found=line,
                fix=_FIX,
            )
        if word.upper() == "@SET":
            name, _, value = rest.strip().partition(" ")
            variables[name] = value.strip()
        else:
            yield from _lines(_included(path, rest), variables, depth + 1)


def _substituted(path: Path, number: int, line: str, variables: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        if name in variables:
            return variables[name]
        if match[2] is not None:
            return match[2]
        raise FormatError(
            path, f"the variable {name} is not set", where=f"line {number}", found=line, fix=_FIX
        )

    return _VARIABLE.sub(value, line)


def _included(path: Path, text: str) -> Path:
    words = shlex.split(text.strip())
    target = path.parent / (words[0] if words else "")
    if not target.is_file():
        name = words[0] if words else "a file without a name"
        raise MissingDataError(
            name, path, "The input includes it: copy it beside the input, as it stood in the run."
        )
    return target
