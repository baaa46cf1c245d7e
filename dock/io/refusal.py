"""What to say of a file that is cut, damaged or written anew, naming the code it is from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from dock.errors import FormatError

__all__ = ["FileState", "Refusal"]


class FileState(NamedTuple):
    """How a file was when it was opened: its bytes, and the time of its last change."""

    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Return the present state of a file."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Refusal:
    """Refuses the files of one program.

    `code` is who writes such files (``SIESTA``), `cut_fix` what to do about a file that ends too
    early, `damaged_fix` about one that contradicts itself.

    Examples
    --------
    >>> Refusal("SIESTA").damaged_fix
    'The file is damaged or of another kind: copy it again, or run SIESTA again.'
    """

    code: str = "the code"
    cut_fix: str = ""
    damaged_fix: str = ""

    def __post_init__(self) -> None:
        cut = (
            "The run may still be writing, or a copy was interrupted: wait, copy the file again, "
            f"or run {self.code} again."
        )
        damaged = (
            f"The file is damaged or of another kind: copy it again, or run {self.code} again."
        )
        object.__setattr__(self, "cut_fix", self.cut_fix or cut)
        object.__setattr__(self, "damaged_fix", self.damaged_fix or damaged)

    def cut(self, path: Path, what: str, expected: int, found: int) -> NoReturn:
        """Refuse a file that ends within `what`; `expected` and `found` are in bytes."""
        raise FormatError(
            path,
            "the file is cut" if found else "the file is empty",
            where=f"in {what}",
            expected=f"at least {expected} bytes",
            found=f"{found} bytes",
            fix=self.cut_fix,
        )

    def too_long(self, path: Path, expected: int, found: int) -> NoReturn:
        """Refuse a file that goes on behind its end; `expected` and `found` are in bytes."""
        problem = "the file is longer than its header says"
        self.damaged(path, problem, f"{expected} bytes", f"{found} bytes")

    def damaged(
        self, path: Path, problem: str, expected: object, found: object, where: str | None = None
    ) -> NoReturn:
        """Refuse a file that contradicts itself."""
        raise FormatError(
            path, problem, expected=expected, found=found, where=where, fix=self.damaged_fix
        )

    def require_unchanged(self, path: Path, opened: FileState) -> None:
        """Refuse a file that was written anew since it was opened."""
        now = FileState.of(path)
        if now != opened:
            raise FormatError(
                path,
                "the file changed after it was opened",
                expected=f"{opened.size} bytes, unchanged",
                found=f"{now.size} bytes, written anew",
                fix=f"Wait until {self.code} has finished and start again.",
            )
