"""The grammar of OpenMX input files: keywords, values, blocks and comments, with line numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn, TypeVar

from dock.errors import FormatError
from dock.io.text import finite_numbers

__all__ = ["InputText"]

Word = TypeVar("Word", bound=str)


class InputText:
    """The lines of an input file, sorted into keywords and blocks."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.values: dict[str, list[tuple[int, str]]] = {}
        self.blocks: dict[str, list[tuple[int, str]]] = {}
        block, opened, start = "", "", 0
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.split("#", 1)[0].strip()
            if not line:
                continue
            key = line.split()[0]
            if block and line.lower() == f"{block}>":
                block = ""
            elif block:
                self.blocks[block].append((number, line))
            elif key.startswith("<"):
                opened, start = key[1:], number
                block = opened.lower()
                if block in self.blocks:
                    self.fail("the block stands twice", opened, "one block", line=number)
                self.blocks[block] = []
            else:
                self.values.setdefault(key.lower(), []).append((number, line[len(key) :].strip()))
        if block:
            self.fail("the block is not closed", opened, f"a line {opened}>", line=start)

    def fail(
        self,
        problem: str,
        keyword: str,
        expected: object,
        *,
        line: int | None = None,
        found: object = None,
    ) -> NoReturn:
        """Refuse the text, naming line and keyword."""
        raise FormatError(
            self.path,
            problem,
            expected=expected,
            found=found,
            where=f"line {line}, {keyword}" if line else keyword,
            fix="Correct the OpenMX input file (inside a scfout: run OpenMX again).",
        )

    def value(self, keyword: str, default: str | None = None) -> str:
        """Return the value of a keyword, which may stand twice only if it says the same."""
        entries = self.values.get(keyword.lower(), [])
        if not entries:
            if default is None:
                self.fail("the keyword is missing", keyword, "a value")
            return default
        first, value = entries[0]
        for line, text in entries[1:]:
            if text.lower() != value.lower():
                problem, expected = "the keyword contradicts itself", f"{value} as in line {first}"
                self.fail(problem, keyword, expected, line=line, found=text)
        return value

    def choice(self, keyword: str, default: str, allowed: tuple[Word, ...]) -> Word:
        """Return a value that must be one of a few words, in lower case."""
        word = (self.value(keyword, default).lower().split() or [""])[0]
        if word not in allowed:
            line = self.values[keyword.lower()][0][0]
            self.fail("unknown value", keyword, " or ".join(allowed), line=line, found=repr(word))
        return allowed[list(allowed).index(word)]

    def numbers(self, keyword: str, default: str | None, count: int) -> list[float]:
        """Return the first `count` numbers after a keyword."""
        words = self.value(keyword, default).split()[:count]
        line = self.values.get(keyword.lower(), [(0, "")])[0][0]
        return self.floats(words, count, keyword, line)

    def floats(self, words: list[str], count: int, keyword: str, line: int) -> list[float]:
        """Convert exactly `count` words to finite numbers."""
        values = finite_numbers(words, count)
        if values is None:
            text = repr(" ".join(words))
            self.fail(
                "numbers are missing or wrong", keyword, f"{count} numbers", line=line, found=text
            )
        return values

    def block(self, keyword: str, count: int, counter: str) -> list[tuple[int, list[str]]]:
        """Return the lines of a block as words; check their number."""
        lines = self.blocks.get(keyword.lower())
        if lines is None:
            self.fail("the block is missing", keyword, f"a block <{keyword}")
        if len(lines) != count:
            self.fail(
                "the block has the wrong number of lines",
                keyword,
                f"{count} lines ({counter})",
                line=lines[0][0] if lines else None,
                found=f"{len(lines)} lines",
            )
        return [(number, line.split()) for number, line in lines]
