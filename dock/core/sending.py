"""How what is read later travels to another process: as the place that it is read from.

A calculation that was read from files is sent (pickled) without its matrices; the other process
reads those that it asks for. So paths become absolute on the way: it may work elsewhere.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dock.errors import UsageError

__all__ = ["packed", "require_sendable", "unpacked"]


class _Sender(pickle.Pickler):
    """Pickles with every path as an absolute one, and without what is computed when asked for."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how such an object is made anew; all else goes as it is."""
        if isinstance(obj, Path) and not obj.is_absolute():
            return type(obj), (str(obj.absolute()),)
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


def packed(sources: Any) -> bytes:
    """Return what reads matrices as bytes, with absolute paths; raises what pickle raises."""
    stream = io.BytesIO()
    _Sender(stream, pickle.HIGHEST_PROTOCOL).dump(sources)
    return stream.getvalue()


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
