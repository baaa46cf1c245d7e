"""The way through a unified folder: what is compared with a code's numbers was written and read."""

import tempfile
from pathlib import Path

import dock


def through_folder(calc):
    """Return what `dock` reads back from the unified folder that it writes of a calculation."""
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "deeph"
        dock.write(calc, target)
        back = dock.read(target, "deeph")
        for name in back.available:
            back.require(name)
    return back
