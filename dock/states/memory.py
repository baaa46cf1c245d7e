"""What memory this process may still use: the machine's, its control group's and its own limits.

A computation that needs more is refused before it starts: on a cluster it would be killed without a
word, on a workstation it would swap for hours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Allowance", "allowance", "in_words"]

_UNLIMITED = 2**60  # what kernels write for no limit differs; nothing real is that large


@dataclass(frozen=True)
class Allowance:
    """The bytes that may still be taken, and whose limit it is, in words."""

    n_bytes: int
    limit: str

    def __str__(self) -> str:
        return f"{in_words(self.n_bytes)} ({self.limit})"


def allowance(root: Path = Path("/")) -> Allowance:
    """Return the smallest of all limits that hold for this process, less what is taken of each.

    `root` is where ``proc`` and ``sys`` are. Where a system has neither, nor limits of processes,
    all is allowed.

    Examples
    --------
    >>> allowance().n_bytes > 0
    True
    """
    found = [*_machine(root), *_process(root), *_control_groups(root)]
    return min(found, key=lambda part: part.n_bytes, default=Allowance(_UNLIMITED, "no limit"))


def in_words(n_bytes: float) -> str:
    """Return a size as text: two digits, from MB on.

    Examples
    --------
    >>> in_words(3.37e11), in_words(1.23e10), in_words(8.1e9), in_words(2e6)
    ('337 GB', '12 GB', '8.1 GB', '2 MB')
    """
    if n_bytes >= 9.995e11:
        return f"{n_bytes / 1e12:.1f} TB"
    if n_bytes >= 9.95e9:
        return f"{n_bytes / 1e9:.0f} GB"
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{max(n_bytes, 1e6) / 1e6:.0f} MB"


def _machine(root: Path) -> Iterator[Allowance]:
    """Yield what the machine can give without swapping."""
    facts = _table(root / "proc/meminfo")
    if "MemAvailable" in facts:
        yield Allowance(1024 * facts["MemAvailable"], "free on this machine")


def _process(root: Path) -> Iterator[Allowance]:
    """Yield what ``ulimit -v`` and ``ulimit -d`` leave."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = _table(root / "proc/self/status")
    limits = (
        (resource.RLIMIT_AS, "VmSize", "ulimit -v"),
        (resource.RLIMIT_DATA, "VmData", "ulimit -d"),
    )
    for kind, taken, words in limits:
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and 0 <= limit < _UNLIMITED:
            yield Allowance(max(0, limit - 1024 * used.get(taken, 0)), f"left by {words}")


def _control_groups(root: Path) -> Iterator[Allowance]:
    """Yield what each control group leaves, from this process's up to the topmost (v1 and v2).

    A batch system or container sets the limit on any of them. Files that the kernel could drop at
    once count as free.
    """
    for version, place in _memory_groups(root):
        top = root / "sys/fs/cgroup" / ("" if version == 2 else "memory")
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        folder = top / place
        for group in (folder, *folder.parents):
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit is not None and limit < _UNLIMITED:
                cache = _table(group / "memory.stat").get(names[2], 0)
                left = max(0, limit - max(0, (used or 0) - cache))
                yield Allowance(left, "left by the control group")
            if group == top:
                break


def _memory_groups(root: Path) -> Iterator[tuple[int, str]]:
    """Yield version and place of the control groups that count this process's memory.

    In a container the place is often that outside of it; the topmost one is then what is seen.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, place.lstrip("/")
        elif "memory" in controllers.split(","):
            yield 1, place.lstrip("/")


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines ``name: number unit`` or ``name number``."""
    found = {}
    for line in _text(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is none (``max``)."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """Return what a file of the kernel says, nothing where there is no such file."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
