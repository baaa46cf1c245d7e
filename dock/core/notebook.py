"""What a notebook shows of an object: a small table, made without reading any file."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["html_table", "size_in_words"]

_LEFT = "style='text-align:left'"


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return rows of (name, text) as HTML.

    Examples
    --------
    >>> "1 &lt; 2" in html_table("Gap", [("E", "1 < 2")])
    True
    """
    import html  # its table of entities: 3 ms of every command's start

    lines = "".join(
        f"<tr><th {_LEFT}>{html.escape(name)}</th><td {_LEFT}>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{lines}</table>"


def size_in_words(n_bytes: float) -> str:
    """Return a number of bytes in the unit that suits it.

    Examples
    --------
    >>> size_in_words(512), size_in_words(27_300), size_in_words(4.2e9)
    ('512 B', '27.3 kB', '4.2 GB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} B"
