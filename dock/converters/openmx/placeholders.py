"""What an scfout file says of the zeros in it: `dock` adds a comment to the embedded input.

The layout has a place for every matrix and number, known or not. Zeros of a matrix show by
themselves, but not why they are there; a Fermi level of 0 may be one.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ELECTRONS", "FERMI_LEVEL", "with_zeros_line", "without_zeros_line", "written_as_zeros"]

FERMI_LEVEL, ELECTRONS = "Fermi level", "number of electrons"
_START = "# dock: zeros for want of data: "


def with_zeros_line(text: str, names: Sequence[str]) -> str:
    r"""Return the input text with a comment that names what is not known, if anything.

    Examples
    --------
    >>> text = with_zeros_line("System.Name si\n", ["position", FERMI_LEVEL])
    >>> written_as_zeros(text), without_zeros_line(text)
    (('position', 'Fermi level'), 'System.Name si\n')
    """
    return f"{_START}{', '.join(names)}\n{text}" if names else text


def without_zeros_line(text: str) -> str:
    """Return the input text as it was without `with_zeros_line`."""
    return text.partition("\n")[2] if text.startswith(_START) else text


def written_as_zeros(text: str) -> tuple[str, ...]:
    """Return the names in the comment of `with_zeros_line`."""
    line = text.partition("\n")[0]
    return tuple(line.removeprefix(_START).split(", ")) if line.startswith(_START) else ()
