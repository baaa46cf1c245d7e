"""Dataclasses as the schema of a TOML file: types, ranges, unknown keys, nearest names."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dock.errors import FormatError, MissingDataError

__all__ = ["ANY", "Untaken", "build", "key", "read_toml", "table_of"]

T = TypeVar("T")

_LOG = logging.getLogger("dock")

ANY: tuple[Any, ...] = ("any value",)
"""Says of a key that whatever it has changes nothing here."""


class Untaken(NamedTuple):
    """A key that is known from elsewhere and not taken.

    Attributes
    ----------
    words
        What to write instead, or why nothing is needed.
    harmless
        Values that ask for what is done anyway: they are passed over, with a note. `ANY`: all.
    """

    words: str
    harmless: tuple[Any, ...] = ()

    def passes(self, value: Any) -> bool:
        """Say whether a value, or all of a table, asks for nothing else than what is done.

        A table that is not enabled asks for nothing, whatever else it has.
        """
        if isinstance(value, Mapping):
            return value.get("enable") is False or all(map(self.passes, value.values()))
        return self.harmless is ANY or any(
            value == one and isinstance(value, bool) == isinstance(one, bool)
            for one in self.harmless
        )


def key(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    length: int | None = None,
    instead: Mapping[str, str] | None = None,
    means: Mapping[str, tuple[str, str]] | None = None,
) -> Any:
    """Return a dataclass field with what the file's reader needs to know.

    Parameters
    ----------
    default, doc
        The value when the key is absent; meaning and unit in one line.
    choices
        The only values allowed.
    low, high, length
        Smallest and largest number allowed; of a list, each of its numbers, and how many.
    instead
        Values that are known from elsewhere and not taken, with a sentence about what to write.
    means
        Values that are known from elsewhere, what is taken for them, and a sentence that says so.
    """
    limits = {"choices": choices, "low": low, "high": high, "length": length}
    about = {"doc": doc, "instead": instead or {}, "means": means or {}}
    return dataclasses.field(default=default, metadata=limits | about)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is not TOML, with the line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError("the options file", path, "Check the path.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            path, "this is not valid TOML", found=str(error), fix="Mend that line."
        ) from error


def build(
    cls: type[T],
    data: Mapping[str, Any],
    path: Path,
    untaken: Mapping[str, Untaken],
    *checks: Callable[[T], None],
) -> T:
    """Make a dataclass from a TOML file.

    Parameters
    ----------
    cls
        A dataclass whose fields come from `key`, or are dataclasses themselves (sub-tables).
    data, path
        The content, and the file that messages name.
    untaken
        By full key (``model.net_type``): keys that are known and not taken.
    checks
        Further looks at the whole, which may raise a `FormatError`.

    Raises
    ------
    FormatError
        For unknown keys (naming the nearest), refused ones, wrong types and values: all at once.
    """
    reading = _Reading(path, untaken, [row[0] for row in table_of(cls)])
    found = reading.table(cls, data, "")
    for check in checks:
        try:
            check(found)
        except FormatError as error:
            reading.problems.append(error)
    if len(reading.problems) == 1:
        raise reading.problems[0]
    if reading.problems:
        count = len(reading.problems)
        lines = [f"\n  {str(error).removeprefix(f'{path} ')}" for error in reading.problems]
        raise FormatError(
            path, f"{count} of its keys cannot be taken as they are", fix="".join(lines)
        )
    return found


@dataclass(eq=False)
class _Reading:
    """One file on its way into dataclasses, and what is wrong with it."""

    path: Path
    untaken: Mapping[str, Untaken]
    known: Sequence[str]
    problems: list[FormatError] = field(default_factory=list)

    def table(self, cls: type[T], data: Mapping[str, Any], where: str) -> T:
        """Return a table as a dataclass; keys with a problem keep their defaults.

        `where` is the full name of a sub-table, ending in a dot.
        """
        hints = typing.get_type_hints(cls)
        fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for name, value in data.items():
            try:
                if name not in fields:
                    self._pass_over(where + name, value, list(fields))
                elif dataclasses.is_dataclass(hints[name]):
                    values[name] = self._section(hints[name], value, where + name)
                else:
                    values[name] = self._checked(value, hints[name], fields[name], where + name)
            except FormatError as error:
                self.problems.append(error)
        return cls(**values)

    def _section(self, kind: Any, value: Any, full: str) -> Any:
        if not isinstance(value, Mapping):
            raise FormatError(
                self.path,
                "this is a section",
                where=full,
                expected=f"[{full}]",
                found=repr(value),
            )
        return self.table(kind, value, full + ".")

    def _pass_over(self, full: str, value: Any, names: list[str]) -> None:
        """Pass over a key that asks for what is done anyway; refuse any other that is not there."""
        untaken = self.untaken.get(full)
        if untaken is not None and untaken.passes(value):
            _LOG.info("%s (%s): nothing to do. %s", self.path, full, untaken.words)
            return
        if untaken is not None:
            raise FormatError(
                self.path, "this key cannot be honoured", where=full, fix=untaken.words
            )
        name = full.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(name, names, 1, 0.5)
        tables = [
            f"[{other.rpartition('.')[0]}]" for other in self.known if other.split(".")[-1] == name
        ]
        if tables:
            hint = f"It stands in {' or '.join(tables)}."
        elif near:
            hint = f"Did you mean '{near[0]}'?"
        else:
            hint = f"Known here: {', '.join(names)}."
        raise FormatError(self.path, "there is no such key", where=full, found=name, fix=hint)

    def _checked(self, value: Any, kind: Any, about: Any, full: str) -> Any:
        """Return a value of the right type and range, or refuse it."""
        option = next((option for option in _alternatives(kind) if _fits(value, option)), None)
        if option is None:
            raise FormatError(
                self.path, "wrong type", where=full, expected=_name(kind), found=repr(value)
            )
        result, meta = _converted(value, option), about.metadata
        if meta["choices"]:
            result = self._chosen(result, meta, full)
        if meta["length"] is not None and len(result) != meta["length"]:
            items, problem = f"{meta['length']} items", "wrong number of items"
            raise FormatError(self.path, problem, where=full, expected=items, found=repr(value))
        low, high = meta["low"], meta["high"]
        for number in result if isinstance(result, tuple) else (result,):
            if not isinstance(number, (int, float)) or isinstance(number, bool):
                continue
            below = low is not None and number < low
            if below or (high is not None and number > high) or not math.isfinite(number):
                span = f"from {'−∞' if low is None else low} to {'∞' if high is None else high}"
                raise FormatError(
                    self.path, "out of range", where=full, expected=span, found=repr(value)
                )
        return result

    def _chosen(self, value: Any, meta: Mapping[str, Any], full: str) -> Any:
        """Return the choice that is meant, in whatever case; refuse what is none."""
        choices = meta["choices"]
        if value in choices:
            return value
        word = str(value).casefold()
        for choice in choices:
            if str(choice).casefold() == word:
                return choice
        for name, (taken, words) in meta["means"].items():
            if name.casefold() == word:
                _LOG.info("%s (%s): %s", self.path, full, words)
                return taken
        allowed = ", ".join(f"'{choice}'" for choice in choices)
        near = difflib.get_close_matches(str(value), [str(c) for c in choices], 1, 0.5)
        fix = f"Did you mean '{near[0]}'?" if near else "Write one of these."
        instead = {name.casefold(): words for name, words in meta["instead"].items()}
        raise FormatError(
            self.path,
            "unknown value",
            where=full,
            expected=allowed,
            found=repr(value),
            fix=instead.get(word, fix),
        )


def _converted(value: Any, kind: Any) -> Any:
    """Return a value that fits as exactly its type: 1 becomes 1.0 where a number is wanted."""
    if kind is float:
        return float(value)
    if isinstance(value, list):
        inner = typing.get_args(kind)[0]
        return tuple(_converted(item, inner) for item in value)
    return value


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return isinstance(value, list) and all(_fits(item, inner) for item in value)
    is_flag = isinstance(value, bool)  # which Python counts among the integers
    accepted = (int, float) if kind is float else kind
    return isinstance(value, accepted) and is_flag == (kind is bool)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _name(kind: Any) -> str:
    """Return a type in words; None, an absent key, needs none."""
    if typing.get_origin(kind) is tuple:
        return f"a list of {_name(typing.get_args(kind)[0])}"
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    options = [option for option in _alternatives(kind) if option is not type(None)]
    return " or ".join(names.get(option, str(option)) for option in options)


def table_of(cls: type[Any], where: str = "") -> list[tuple[str, str, str, str]]:
    """Return (key, type, default, meaning) of every key, for the documentation."""
    hints = typing.get_type_hints(cls)
    rows: list[tuple[str, str, str, str]] = []
    nested: list[tuple[str, Any]] = []
    for item in dataclasses.fields(cls):
        kind = hints[item.name]
        if dataclasses.is_dataclass(kind):
            nested.append((item.name, kind))
            continue
        choices = item.metadata["choices"]
        words = [_toml(choice) if isinstance(choice, bool) else str(choice) for choice in choices]
        shown = " | ".join(words) if choices else _name(kind)
        rows.append((where + item.name, shown, _toml(item.default), item.metadata["doc"]))
    for name, kind in nested:
        rows += table_of(kind, f"{where}{name}.")
    return rows


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return "—" if value is None else str(value)
