"""How what is read later travels to another process: as the place that it is read from.

A calculation that was read from files is sent (pickled) without its matrices; the other process
reads those that it asks for. So paths become absolute on the way: it may work elsewhere. Sizes and
times of the files go along, so that another run in their place is not taken for the same.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from dock.errors import FormatError, UsageError

__all__ = ["Stamps", "packed", "require_sendable", "require_unchanged", "unpacked"]

Stamps: TypeAlias = dict[str, tuple[int, int]]
"""Size and time of change (ns) of files by their absolute paths."""


class _Sender(pickle.Pickler):
    """Pickles with every path as an absolute one, and without what is computed when asked for."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.stamps: Stamps = {}

    def reducer_override(self, obj: Any) -> Any:
        """Return how such an object is made anew; all else goes as it is."""
        if isinstance(obj, Path):
            place = obj.absolute()
            if place.is_file():
                self.stamps[str(place)] = _stamp(place)
            return type(obj), (str(place),)
        kind, own = type(obj), getattr(obj, "__dict__", {})
        if any(isinstance(getattr(kind, name, None), cached_property) for name in own):
            made, arguments, state, *rest = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            kept = {
                name: value
                for name, value in state.items()
                if not isinstance(getattr(kind, name, None), cached_property)
            }
            return made, arguments, kept, *rest
        return NotImplemented


def _stamp(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def packed(sources: Any) -> tuple[bytes, Stamps]:
    """Return what reads matrices as bytes, and its files; raises what pickle raises."""
    stream = io.BytesIO()
    sender = _Sender(stream)
    sender.dump(sources)
    return stream.getvalue(), sender.stamps


def require_unchanged(stamps: Stamps) -> None:
    """Raise `FormatError` where a file is another one than when its calculation was sent.

    One that is gone is left to its reader, which says what it needs it for.
    """
    for name, stamp in stamps.items():
        file = Path(name)
        if file.is_file() and _stamp(file) != stamp:
            raise FormatError(
                file,
                "the file has changed since its calculation was sent to this process",
                expected=f"{stamp[0]} bytes of the time when it was sent",
                found=f"{file.stat().st_size} bytes, changed later",
                fix="Read the run again with dock.read.",
            )


def unpacked(content: bytes) -> Any:
    """Return what `packed` made bytes of."""
    return pickle.loads(content)  # noqa: S301 - inside of what is being unpickled already


def require_sendable(source: str, readers: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a function that reads a matrix is one that pickle cannot send."""
    for name, reader in readers.items():
        try:
            packed(reader)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                f"{source}: the {name.replace('_', ' ')} is made by a function that cannot be sent "
                f"to another process ({error}). Write the calculation into a folder (dock.write) "
                "and read that, or give the matrix itself in the place of the function."
            ) from error
