"""What commands printed and wrote, and what of it another version lost.

A fact is a number or a word of a table, a value of a JSON object, a dataset or an attribute of an
HDF5 file, a line of a text, a figure. Keys may have new names and tables a new layout;
`_allowed.py` has the differences that are meant. Everything else that the old version has and the
new one has not is lost.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from _allowed import RENAMED, RESTATED, Difference, Kind, any_value_will_do, pardoned, reason_for

WEAK_LENGTH = 4
"""A text of so few letters, such as ``none``, or an integer of one digit is found anywhere: under
another key it counts as the same fact only beside its old place."""


@dataclass(frozen=True)
class Outcome:
    """What one command left: exit code, both streams, and the files it wrote or changed."""

    text: str
    code: int
    out: str
    err: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Judge:
    """Compares outcomes of commands.

    Parameters
    ----------
    rounding
        Largest relative difference of numbers that is reported as rounding, not as loss.
    values
        Compare values; False compares keys, names and exit codes alone.
    """

    rounding: float = 0.0
    values: bool = True

    def compare(self, old: Outcome, new: Outcome) -> list[Difference]:
        """Return what the new outcome lacks of the old one, and how it differs."""
        return [pardoned(difference, old.text) for difference in self.differences(old, new)]

    def differences(self, old: Outcome, new: Outcome) -> list[Difference]:
        """Return all differences; only those of values are judged already."""
        if old.code != new.code:
            last = ((new.err or old.err).strip().splitlines() or ["no message"])[-1]
            return [Difference("exit code", f"{old.code}, now {new.code}: {last}")]
        if "--help" in old.text:
            return _lost_options("stdout", old.out, new.out)
        found = self.streams(old, new)
        for name, path in sorted(old.files.items()):
            if name in new.files:
                found += self.file(name, path, new.files[name])
            else:
                found.append(Difference(name, "the file is not written"))
        more = sorted(set(new.files) - set(old.files))
        found += [Difference(name, "a file more", "allowed") for name in more]
        return found

    # -- streams -------------------------------------------------------------------------------

    def streams(self, old: Outcome, new: Outcome) -> list[Difference]:
        """Compare standard output, as JSON where it is that, and messages."""
        if not self.values:
            return []
        found = []
        objects = json_lines(old.out)
        if objects is None:
            found += _lost_words("stdout", old.out, new.out)
        else:
            now = json_lines(new.out)
            if now is None:
                return [Difference("stdout", "was JSON, now is not")]
            found += self.json("stdout", objects, now)
        said, says = _without_progress(old.err), _without_progress(new.err)
        found += _lost_options("stderr", said, says)  # what to type is part of a message
        for loss in _lost_words("stderr", said, says):
            found.append(loss if _is_number(loss) else Difference(*_gone_word(loss), "allowed"))
        return found

    # -- values under keys ---------------------------------------------------------------------

    def json(self, place: str, old: Any, new: Any) -> list[Difference]:
        """Compare two JSON contents."""
        return self.leaves(place, leaves(old), leaves(new))

    def leaves(
        self, place: str, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[Difference]:
        """Compare values under paths of keys."""
        gone = [(path, value) for path, value in old.items() if not self.stays(path, value, new)]
        pool = Pool(old, new) if gone else None
        return [
            self.leaf(f"{place}: {path}", path, value, new, pool)
            for path, value in gone
            if pool is not None and not (path in new and any_value_will_do(f"{place}: {path}"))
        ]

    def stays(self, path: str, value: Any, new: Mapping[str, Any]) -> bool:
        """Say whether the same key has the same value."""
        return path in new and (not self.values or is_same(value, new[path]))

    def leaf(
        self, place: str, path: str, value: Any, new: Mapping[str, Any], pool: Pool
    ) -> Difference:
        """Find the value of a key that is gone or has another value."""
        if path in new and (reason := reason_for(place, value, new[path])):
            return Difference(place, reason, "allowed")
        named = path
        for pattern, name, reason in RENAMED:
            there = re.sub(pattern, name, path)
            if there != path and self.stays(there, value, new):
                return Difference(place, f"now {there}: {reason}", "allowed")
            if path not in new and there in new:
                named = there
        error = deviation(value, new.get(named))
        if error is not None and error <= self.rounding:
            return Difference(place, f"relative difference {error:.1e}", "rounding")
        if is_prose(value) and is_prose(new.get(path)):
            lost = [loss for loss in _lost_tokens(place, value, new[path]) if _is_number(loss)]
            return lost[0] if lost else Difference(place, _reworded(value, new[path]), "allowed")
        there = pool.find(path, value) if self.values else None
        if there is not None:
            return Difference(place, f"now {there}", "allowed")
        now = f", now {_short(new[path])}" if path in new else ""
        apart = "" if error is None else f" (relative difference {error:.1e})"
        return Difference(place, f"{_short(value)}{now}{apart}")

    # -- files ---------------------------------------------------------------------------------

    def file(self, name: str, old: Path, new: Path) -> list[Difference]:
        """Compare two files of one name by what they are."""
        first, second = old.read_bytes(), new.read_bytes()
        if first == second:
            return []
        if first.startswith(b"\x89HDF"):
            return self.hdf5(name, old, new)
        if first.startswith(b"\x89PNG"):
            return _figures(name, old, new)
        if name.endswith((".pdf", ".svg")):
            return []
        if not self.values and not name.endswith((".json", ".jsonl")):
            return []
        if name.endswith(".npz"):
            return self.leaves(name, _arrays(old), _arrays(new))
        try:
            texts = first.decode("utf-8"), second.decode("utf-8")
        except UnicodeDecodeError:
            return [Difference(name, _first_byte(first, second))]
        contents = [json_content(name, text) for text in texts]
        if contents[0] is not None:
            if contents[1] is None:
                return [Difference(name, "was JSON, now is not")]
            return self.json(name, *contents)
        return self.text(name, *texts)

    def text(self, name: str, old: str, new: str) -> list[Difference]:
        """Compare texts line by line; versions aside, they must be equal."""
        first, second = (_without_version(text).splitlines() for text in (old, new))
        if first == second:
            return []
        if len(first) != len(second):
            return [Difference(name, f"{len(first)} lines, now {len(second)}")]
        unlike = [n for n, pair in enumerate(zip(first, second, strict=True)) if len({*pair}) > 1]
        scale = _scale([first[n] for n in unlike], first)
        errors = [_line_deviation(first[n], second[n], scale) for n in unlike]
        at = unlike[int(np.argmax(errors))]
        where = f"{len(unlike)} of {len(first)} lines; line {at + 1}"
        what = f"{where}: '{first[at]}', now '{second[at]}'"
        kind: Kind = "rounding" if max(errors) <= self.rounding else "lost"
        return [Difference(name, what, kind)]

    def hdf5(self, name: str, old: Path, new: Path) -> list[Difference]:
        """Compare datasets and attributes of two HDF5 files."""
        (data, notes), (data_now, notes_now) = hdf5_content(old), hdf5_content(new)
        found = self.leaves(f"{name}: attribute", notes, notes_now)
        for key, array in data.items():
            place = f"{name}: dataset {key}"
            if key not in data_now:
                found.append(self.missing(place, array, data_now))
            elif self.values and not _same_array(array, data_now[key]):
                found.append(self.dataset(place, array, data_now[key]))
        return found

    def missing(self, place: str, old: np.ndarray, new: Mapping[str, np.ndarray]) -> Difference:
        """Say whether a dataset that is gone has a new name."""
        for pattern, name, reason in RENAMED:
            there = re.sub(pattern, name, place)
            now = new.get(there.rpartition(": dataset ")[2]) if there != place else None
            if now is not None and (_same_array(old, now) or reason_for(there, old, now)):
                return Difference(place, f"now {there}: {reason}", "allowed")
        twin = next((key for key, array in new.items() if _same_array(old, array)), None)
        return Difference(place, "is not there" + (f"; {twin} has its values" if twin else ""))

    def dataset(self, place: str, old: np.ndarray, new: np.ndarray) -> Difference:
        """Say how two datasets differ."""
        if reason := reason_for(place, old, new):
            return Difference(place, reason, "allowed")
        for what in ("dtype", "shape"):
            if getattr(old, what) != getattr(new, what):
                return Difference(place, f"{what} {getattr(old, what)}, now {getattr(new, what)}")
        error = deviation(old, new)
        if error is None:
            return Difference(place, f"{_short(old)}, now {_short(new)}")
        kind: Kind = "rounding" if error <= self.rounding else "lost"
        count = int((np.asarray(old != new)).sum())
        return Difference(place, f"{count} of {old.size} values, relative {error:.1e}", kind)


# -- values ------------------------------------------------------------------------------------


@dataclass
class Pool:
    """The values of the new content, to find those of the old one under other keys."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]
    elements: list[tuple[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        fresh = [(path, value) for path, value in self.new.items() if path not in self.old]
        kept = [(path, value) for path, value in self.new.items() if path in self.old]
        parts = [
            (f"{path}[{n}]", part)
            for path, value in fresh
            if isinstance(value, list)
            for n, part in enumerate(value)
        ]
        columns: dict[str, list[Any]] = {}
        for path, value in fresh:
            if (column := re.sub(r"\[\d+\](?=\.)", "[*]", path)) != path:
                columns.setdefault(column, []).append(value)
        self.elements = [*fresh, *columns.items(), *parts, *kept]

    def find(self, path: str, value: Any) -> str | None:
        """Return a key that has this value: a new one beside the old, or any if it is distinct."""
        weak = is_weak(value)
        for there, candidate in self.elements:
            if weak and (there in self.old or _parent(there) != _parent(path)):
                continue
            if is_same(value, candidate):
                return there
        return None


def leaves(content: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested objects under their paths; a list without objects is a value."""
    parts: Iterator[tuple[str, Any]]
    if isinstance(content, Mapping) and content:
        parts = ((f"{path}.{key}" if path else str(key), part) for key, part in content.items())
    elif isinstance(content, list) and _has_objects(content):
        parts = ((f"{path}[{n}]", part) for n, part in enumerate(content))
    else:
        return {path: content}
    return {key: value for name, part in parts for key, value in leaves(part, name).items()}


def _has_objects(content: Any) -> bool:
    if isinstance(content, list):
        return any(_has_objects(part) for part in content)
    return isinstance(content, Mapping)


def is_weak(value: Any) -> bool:
    """Say whether a value is so common that finding it elsewhere means nothing."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return value == int(value) and abs(value) < 10 if math.isfinite(value) else True
    if isinstance(value, str):
        return len(value) <= WEAK_LENGTH
    if isinstance(value, list):
        return all(is_weak(part) for part in value)
    return False


def is_same(old: Any, new: Any) -> bool:
    """Compare two values to the last bit; NaN equals NaN, and lists of file names have no order."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return _same_array(old, new)
    if isinstance(old, bool) != isinstance(new, bool):
        return False
    if old == new:
        return True
    if isinstance(old, list) and isinstance(new, list):
        if all(isinstance(part, str) and "." in part for part in [*old, *new]):
            return set(old) <= set(new)
        return len(old) == len(new) and all(map(is_same, old, new))
    return isinstance(old, float) and isinstance(new, float) and old != old and new != new


def _same_array(old: np.ndarray, new: np.ndarray) -> bool:
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return np.array_equal(old, new, equal_nan=old.dtype.kind in "fc")


def deviation(old: Any, new: Any) -> float | None:
    """Return the largest difference relative to the largest value; None for what is no number."""
    if any(isinstance(value, bool | str) or value is None for value in (old, new)):
        return None
    try:
        first, second = np.asarray(old, dtype=complex), np.asarray(new, dtype=complex)
    except (TypeError, ValueError):
        return None
    if first.shape != second.shape or first.size == 0:
        return None
    scale = float(np.nanmax(abs(first), initial=0.0)) or 1.0
    error = abs(first - second)
    both = np.isnan(first) & np.isnan(second)
    return float(np.max(np.where(both, 0.0, error)) / scale)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _short(value: Any, width: int = 60) -> str:
    text = repr(value) if isinstance(value, float | list) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


# -- tables and messages -----------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[^\W\d_]\w+")
_FILLERS = {"and", "are", "at", "by", "for", "from", "in", "is", "of", "on", "the", "to", "with"}
_TIME = re.compile(r"\b\d+\.\d+ (?:CPU )?s\b")
_PROGRESS = re.compile(r"^\d+/\d+ .*|^\S* ?\d+/\d+ .* left$", re.MULTILINE)
_VERSION = re.compile(r"\bdock[ -]v?\d+\.\d+\.\d+\S*")
_INDEX = re.compile(r"\[\d+\]")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def _without_progress(text: str) -> str:
    return _PROGRESS.sub("", text)


def _without_version(text: str) -> str:
    return _VERSION.sub("dock", text)


def tokens(text: str) -> tuple[Counter[str], set[str]]:
    """Return the numbers of a text with their counts, and its words; paths are words."""
    numbers: Counter[str] = Counter()
    words: set[str] = set()
    for chunk in _TIME.sub("", _without_version(text)).split():
        bare = chunk.strip("()[]{},;:'\"")
        if re.search(r"[A-Za-z_]", bare) and ("/" in bare or re.search(r"\.[a-z]\w*$", bare)):
            words.add(bare)
            continue
        numbers.update(_plain_number(found) for found in _NUMBER.findall(chunk))
        words.update(found.lower() for found in _WORD.findall(chunk))
    return numbers, words - _FILLERS


def _plain_number(text: str) -> str:
    """Return a printed number without plus, and zero without a sign."""
    text = text.replace("−", "-").lstrip("+")
    return text.lstrip("-") if float(text) == 0 else text


def _lost_words(place: str, old: str, new: str) -> list[Difference]:
    """Return the numbers and words of a text that another has not, in whatever layout."""
    if old == new:
        return []
    for pattern, restate, reason in RESTATED:
        if (restated := re.sub(pattern, restate, old)) != old:
            found = _lost_tokens(place, old, new)
            less = _lost_tokens(place, restated, new)
            meant = [Difference(place, reason, "allowed")] if len(less) < len(found) else []
            return min(found, less, key=len) + meant
    return _lost_tokens(place, old, new)


def _is_number(loss: Difference) -> bool:
    return loss.what.startswith("number")


def _gone_word(loss: Difference) -> tuple[str, str]:
    return loss.place, f"reworded, without {loss.what.removeprefix('word ')}"


def is_prose(value: Any) -> bool:
    """Say whether a value is a message: a text of four words or more."""
    return isinstance(value, str) and len(value.split()) > 3


def _reworded(old: str, new: str) -> str:
    """Return what two messages say from their first difference on."""
    pairs = enumerate(zip(old, new, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)))
    at = old.rfind(" ", 0, at) + 1
    return f"reworded: '{_short(old[at:], 40)}', now '{_short(new[at:], 40)}'"


def _lost_tokens(place: str, old: str, new: str) -> list[Difference]:
    (numbers, words), (numbers_now, words_now) = tokens(old), tokens(new)
    gone = numbers - numbers_now
    spare = numbers_now - numbers
    lost = [number for number in gone.elements() if not _take_longer(number, spare)]
    found = [Difference(place, f"number {number}") for number in lost]
    return found + [Difference(place, f"word '{word}'") for word in sorted(words - words_now)]


def _take_longer(number: str, spare: Counter[str]) -> bool:
    """Take a number with more digits that rounds to this one, if there is one."""
    if not {".", "e", "E"} & {*number}:
        return False
    wanted = Decimal(number)
    for other, count in spare.items():
        longer = Decimal(other)
        finer = longer.as_tuple().exponent < wanted.as_tuple().exponent
        if count and finer and longer.quantize(wanted) == wanted:
            spare[other] -= 1
            return True
    return False


def _lost_options(place: str, old: str, new: str) -> list[Difference]:
    gone = set(_OPTION.findall(old)) - set(_OPTION.findall(new))
    return [Difference(place, f"option {name}") for name in sorted(gone)]


def json_lines(text: str) -> list[Any] | None:
    """Return the objects of a text with one JSON object a line; None if it is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not all(line.startswith(("{", "[")) for line in lines):
        return None
    try:
        objects = [json.loads(line) for line in lines]
    except ValueError:
        return None
    return objects


# -- files -------------------------------------------------------------------------------------


def json_content(name: str, text: str) -> Any:
    """Return the content of a JSON file, also of one with an object a line; None for others."""
    if name.endswith(".jsonl"):
        return json_lines(text)
    if not name.endswith(".json"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def hdf5_content(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return datasets, and attributes as ``object.name`` with JSON texts taken apart."""
    import h5py

    data: dict[str, np.ndarray] = {}
    notes: dict[str, Any] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            data[name] = np.asarray(item[()])
        for key, value in item.attrs.items():
            content = _plain(value)
            notes.update(leaves(content, f"{name}.{key}" if name else key))

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)
    return data, notes


def _plain(value: Any) -> Any:
    """Return a value of an attribute as Python's own, with JSON texts read."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _figures(name: str, old: Path, new: Path) -> list[Difference]:
    """Compare two figures: the size in pixels, and the mean difference (0 to 1)."""
    from matplotlib.image import imread

    first, second = imread(old), imread(new)
    if first.shape != second.shape:
        sizes = [f"{image.shape[1]}×{image.shape[0]}" for image in (first, second)]
        return [Difference(name, f"{sizes[0]} pixels, now {sizes[1]}")]
    error = float(abs(first.astype(float) - second).mean())
    if error == 0.0:
        return []
    return [Difference(name, f"mean difference of pixels {error:.5f}", "allowed")]


def _first_byte(old: bytes, new: bytes) -> str:
    if len(old) != len(new):
        return f"{len(old)} bytes, now {len(new)}"
    first, second = (np.frombuffer(part, dtype=np.uint8) for part in (old, new))
    unlike = np.flatnonzero(first != second)
    return f"{len(unlike)} of {len(old)} bytes differ, the first at {unlike[0]}"


def _numbers(line: str) -> list[float] | None:
    """Return the numbers of a line that has nothing else."""
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _scale(some: Sequence[str], lines: Sequence[str]) -> float:
    """Return the largest number in the lines with as many numbers as `some` have."""
    lengths = {len(line.split()) for line in some}
    rows = (_numbers(line) for line in lines if len(line.split()) in lengths)
    return max((abs(number) for row in rows for number in row or ()), default=1.0) or 1.0


def _line_deviation(old: str, new: str, scale: float) -> float:
    """Return the largest difference of two lines' numbers over `scale`, infinite for others."""
    first, second = _numbers(old), _numbers(new)
    if first is None or second is None or len(first) != len(second):
        return math.inf
    return max((abs(a - b) for a, b in zip(first, second, strict=True)), default=0.0) / scale


def aggregate(differences: Sequence[Difference]) -> list[str]:
    """Return differences as lines: those that are meant one for each reason, others by place."""
    lines: dict[str, list[str]] = {}
    for difference in differences:
        place = _INDEX.sub("[*]", difference.place)
        key = f"{place}: {difference.what}"
        if difference.kind == "allowed":
            key = _INDEX.sub("[*]", difference.what)
        lines.setdefault(key, []).append(place)
    return [
        key + _times(places, name=not key.startswith(f"{places[0]}: "))
        for key, places in lines.items()
    ]


def _times(places: Sequence[str], *, name: bool) -> str:
    """Return in brackets the first place, if wanted, and how many there are."""
    parts = [places[0]] if name else []
    parts += [f"{len(places)} times"] if len(places) > 1 else []
    return f" ({', '.join(parts)})" if parts else ""
