"""How far a long computation is: one protocol for all of them, with parts.

A function that takes long has an argument ``progress``: a `Progress`, or any function of the
numbers (done, total). It calls `Progress.start` once it knows how much there is to do and
`Progress.advance` when some of it is done. Whoever calls several such functions starts the sum
himself and hands each of them a `Progress.part`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias, TypeVar

__all__ = ["Progress", "Report"]

T = TypeVar("T")

Report: TypeAlias = "Progress | Callable[[int, int], None] | None"
"""What the argument ``progress`` of a function may be."""


class Progress:
    """Counts finished units of work and reports them; a lock makes it safe for threads.

    `report` is called with the units that are done and all units; None says nothing. `note` is what
    is worth saying beside the numbers, such as the error of a training so far.

    Examples
    --------
    >>> seen = []
    >>> progress = Progress(lambda done, total: seen.append((done, total)))
    >>> progress.start(3)
    >>> for part in (progress.part(), progress.part()):
    ...     part.start(99)  # the whole has been announced
    ...     part.advance()
    >>> progress.advance()
    >>> seen
    [(1, 3), (2, 3), (3, 3)]
    """

    def __init__(self, report: Callable[[int, int], None] | None = None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self.done = 0
        self.total = 0
        self.skipped = 0
        self.note = ""

    @staticmethod
    def of(given: Report) -> Progress:
        """Return what was given as a `Progress`."""
        return given if isinstance(given, Progress) else Progress(given)

    def start(self, total: int) -> None:
        """Announce units of work; a second call announces more of them."""
        self.total += total

    def skip(self, count: int = 1) -> None:
        """Say that `count` units were done before: they tell nothing of the time that is left."""
        with self._lock:
            self.skipped += count
        self.advance(count)

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units are done."""
        with self._lock:
            self.done += count
            if self._report is not None:
                self._report(self.done, self.total)

    def each(self, items: Collection[T]) -> Iterator[T]:
        """Announce items and yield them; one is done when the next is asked for.

        Examples
        --------
        >>> [item for item in Progress(print).each("ab")]
        1 2
        2 2
        ['a', 'b']
        """
        self.start(len(items))
        for item in items:
            yield item
            self.advance()

    def say(self, note: str) -> None:
        """Change the note; it is shown with the next step."""
        self.note = note

    def part(self) -> Progress:
        """Return a progress for a part of what has been started here."""
        return _Part(self)


class _Part(Progress):
    """Hands steps on to the whole, which has been announced already."""

    def __init__(self, whole: Progress) -> None:
        super().__init__()
        self._whole = whole

    def start(self, total: int) -> None:
        """Do nothing: the whole was announced."""

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units of the whole are done."""
        self._whole.advance(count)

    def skip(self, count: int = 1) -> None:
        """Say that `count` units of the whole were done before."""
        self._whole.skip(count)

    def say(self, note: str) -> None:
        """Change the note of the whole."""
        self._whole.say(note)
