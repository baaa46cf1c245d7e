"""Numbers of many structures, one dictionary each, which are also the rows of a table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dock.results import Result

__all__ = ["Records", "StructuresResult"]


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


@dataclass(frozen=True, eq=False, repr=False)
class StructuresResult(Result):
    """A result of many structures: a dictionary of numbers of each, in the order of their names."""

    structures: tuple[dict[str, Any], ...]

    @property
    def rows(self) -> Records:
        """The numbers of each structure; called, what a table shows of them all."""
        return Records.of(self.structures, self._rows)

    def summary(self) -> dict[str, Any]:
        """Return what is said of all structures together as plain Python data."""
        return self.facts()

    @abstractmethod
    def _rows(self) -> list[tuple[str, str]]:
        """Return what a table shows, as (name, text)."""
