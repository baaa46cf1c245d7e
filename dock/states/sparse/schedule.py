"""In which order fronts are eliminated by several threads, and the memory at the peak.

Near the leaves whole subtrees are dealt out, one thread each; near the root, where fronts are
large, all threads work inside the products of one front.
"""

from __future__ import annotations

from dataclasses import dataclass

from dock.states.sparse.fronts import Front

__all__ = ["Schedule"]

_SHARE = 6  # subtrees for each thread, at least, so that all are busy to the end


@dataclass(frozen=True)
class Schedule:
    """What is done side by side, and what after it.

    Attributes
    ----------
    subtrees
        First and last front, inclusive, of each subtree that one thread eliminates alone.
    top
        The fronts above them, in order.
    threads
        How many subtrees at a time.
    """

    subtrees: tuple[tuple[int, int], ...]
    top: tuple[int, ...]
    threads: int

    @classmethod
    def of(cls, fronts: list[Front], threads: int) -> Schedule:
        """Divide the tree for a number of threads."""
        work = [front.n_operations for front in fronts]
        first = list(range(len(fronts)))  # the first front of each one's subtree
        for number, front in enumerate(fronts):
            for child in front.children:
                work[number] += work[child]
                first[number] = min(first[number], first[child])
        roots = [number for number, front in enumerate(fronts) if front.parent < 0]
        limit = sum(work[number] for number in roots) / (_SHARE * threads)
        if threads == 1:
            return cls((), tuple(range(len(fronts))), 1)
        found, top, waiting = [], [], roots
        while waiting:
            number = waiting.pop()
            if work[number] <= limit:
                found.append((first[number], number))
            else:
                top.append(number)
                waiting += fronts[number].children
        return cls(tuple(sorted(found)), tuple(sorted(top)), threads)

    def peak(self, fronts: list[Front], *, kept: bool) -> int:
        """Return the most numbers that fronts, updates and kept factors take at any time."""
        tasks = [range(first, last + 1) for first, last in self.subtrees]
        spaces = [_largest_panel(fronts, task) for task in tasks]
        walks = [_walk(fronts, task, kept=kept) for task in tasks]
        most = done = 0
        for number in range(len(tasks)):
            begin = max(0, number + 1 - self.threads)
            running = [w[0] + s for w, s in zip(walks[begin:], spaces[begin:], strict=True)]
            before = sum(left for _, left in walks[:begin])
            most = max(most, before + sum(running[: self.threads]))
            done += walks[number][1]
        above, _ = _walk(fronts, self.top, kept=kept)
        return max(most, done + above + _largest_panel(fronts, self.top))


def _walk(fronts: list[Front], numbers: range | tuple[int, ...], *, kept: bool) -> tuple[int, int]:
    """Return the most numbers in memory while fronts are eliminated, and those left at the end.

    Updates that come from elsewhere are not counted when they arrive, only when they go.
    """
    now = most = 0
    for number in numbers:
        front = fronts[number]
        now += front.own_length + front.rest_length
        most = max(most, now)
        now -= sum(fronts[child].rest_length for child in front.children)
        now -= 0 if kept else front.own_length
        most = max(most, now)
    return most, now


def _largest_panel(fronts: list[Front], numbers: range | tuple[int, ...]) -> int:
    """Return the numbers of the largest panel, of which a copy is made."""
    widths = (panel.lead * panel.width for n in numbers for panel in fronts[n].own_panels)
    return max(widths, default=0)
