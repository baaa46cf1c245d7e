"""What the log of any code's run says, and the last number behind a pattern in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dock.io.text import parse_number

__all__ = ["RunLog", "last_number"]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunLog:
    """What a log says; None where it is silent.

    Attributes
    ----------
    version
        Of the code, ``3.8.1``; empty where it is not said.
    n_electrons
        Electrons of the cell, as the code counts them.
    converged
        Whether the last self-consistency cycle ended well.
    """

    path: Path
    version: str
    n_electrons: float | None
    converged: bool | None


def last_number(text: str, pattern: str) -> float | None:
    r"""Return the number in the last match of a pattern's group; None where there is none.

    Examples
    --------
    >>> last_number("E = 1.0\nE = .25D+01\n", r"^E = (\S+)")
    2.5
    """
    matches = re.findall(pattern, text, flags=re.MULTILINE)
    try:
        return parse_number(matches[-1]) if matches else None
    except ValueError:
        return None
