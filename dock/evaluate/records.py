"""Numbers of many structures, one dictionary each, which are also the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Records"]


class Records(tuple[dict[str, Any], ...]):  # noqa: SLOT001 - a tuple takes no slots
    """Numbers of each structure; called, the rows of text of the result that they belong to.

    Results of many structures had an attribute ``rows`` with the numbers before every result had
    a method of this name. Both uses work.

    Examples
    --------
    >>> rows = Records.of([{"name": "a"}], lambda: [("structures", "1")])
    >>> rows[0]["name"], rows()
    ('a', [('structures', '1')])
    """

    _shown: Callable[[], list[tuple[str, str]]]

    @classmethod
    def of(
        cls, numbers: Iterable[dict[str, Any]], shown: Callable[[], list[tuple[str, str]]]
    ) -> Records:
        """Return the numbers of structures with what a table shows of them."""
        records = cls(numbers)
        records._shown = shown
        return records

    def __call__(self) -> list[tuple[str, str]]:
        """Return what a table shows, as (name, text)."""
        return self._shown()
