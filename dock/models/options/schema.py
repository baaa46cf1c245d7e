"""Dataclasses as the schema of a TOML file: types, ranges, unknown keys, nearest names."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dock.errors import FormatError, MissingDataError

__all__ = ["build", "key", "read_toml", "table_of"]

T = TypeVar("T")


def key(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    length: int | None = None,
    instead: Mapping[str, str] | None = None,
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
    """
    limits = {"choices": choices, "low": low, "high": high, "length": length}
    about = {"doc": doc, "instead": instead or {}}
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
    refused: Mapping[str, str],
    where: str = "",
    known: Sequence[str] = (),
) -> T:
    """Make a dataclass from a table of a TOML file.

    Parameters
    ----------
    cls
        A dataclass whose fields come from `key`, or are dataclasses themselves (sub-tables).
    data, path
        The table, and the file that messages name.
    refused
        Sentences by full key (``model.net_type``) about keys that are known and not taken.
    where, known
        Of a sub-table: its full name, ending in a dot, and the full names of all keys of the file.

    Raises
    ------
    FormatError
        For an unknown key (naming the nearest), a refused one, a wrong type or value.
    """
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    known = known or [row[0] for row in table_of(cls)]
    for name, value in data.items():
        full = where + name
        if name not in fields:
            _refuse_unknown(path, full, list(fields), refused, known)
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise FormatError(
                    path, "this is a section", where=full, expected=f"[{full}]", found=repr(value)
                )
            values[name] = build(
                typing.cast("type[Any]", kind), value, path, refused, full + ".", known
            )
        else:
            values[name] = _checked(value, kind, fields[name], path, full)
    return cls(**values)


def _refuse_unknown(
    path: Path, full: str, names: list[str], refused: Mapping[str, str], known: Sequence[str]
) -> typing.NoReturn:
    if full in refused:
        raise FormatError(path, "this key cannot be honoured", where=full, fix=refused[full])
    name = full.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(name, names, 1, 0.5)
    tables = [f"[{other.rpartition('.')[0]}]" for other in known if other.split(".")[-1] == name]
    if tables:
        hint = f"It stands in {' or '.join(tables)}."
    elif near:
        hint = f"Did you mean '{near[0]}'?"
    else:
        hint = f"Known here: {', '.join(names)}."
    raise FormatError(path, "there is no such key", where=full, found=name, fix=hint)


def _checked(value: Any, kind: Any, field: Any, path: Path, full: str) -> Any:
    """Return a value of the right type and range, or refuse it."""
    option = next((option for option in _alternatives(kind) if _fits(value, option)), None)
    if option is None:
        raise FormatError(path, "wrong type", where=full, expected=_name(kind), found=repr(value))
    result, meta = _converted(value, option), field.metadata
    if meta["choices"] and result not in meta["choices"]:
        _refuse_value(value, meta, path, full)
    if meta["length"] is not None and len(result) != meta["length"]:
        items, problem = f"{meta['length']} items", "wrong number of items"
        raise FormatError(path, problem, where=full, expected=items, found=repr(value))
    low, high = meta["low"], meta["high"]
    for number in result if isinstance(result, tuple) else (result,):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        below = low is not None and number < low
        if below or (high is not None and number > high) or not math.isfinite(number):
            span = f"from {'−∞' if low is None else low} to {'∞' if high is None else high}"
            raise FormatError(path, "out of range", where=full, expected=span, found=repr(value))
    return result


def _refuse_value(value: Any, meta: Mapping[str, Any], path: Path, full: str) -> typing.NoReturn:
    """Refuse a value that is not among the choices, naming what to write instead."""
    allowed = ", ".join(f"'{choice}'" for choice in meta["choices"])
    near = difflib.get_close_matches(str(value), [str(c) for c in meta["choices"]], 1, 0.5)
    fix = f"Did you mean '{near[0]}'?" if near else "Write one of these."
    fix, found = meta["instead"].get(str(value), fix), repr(value)
    raise FormatError(path, "unknown value", where=full, expected=allowed, found=found, fix=fix)


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
        shown = " | ".join(str(choice) for choice in choices) if choices else _name(kind)
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
