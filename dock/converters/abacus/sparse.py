"""A file of sparse matrices of ABACUS in real space: its ionic steps, their lattice vectors.

Every file is a sequence of ionic steps; a step is a sequence of lattice vectors R, each with one
matrix in compressed rows. Both R and −R are always there: that, the counts and the row pointers
show whether a file is complete. Each layout is a class of its own, `dock.converters.abacus.hr_csr`
and `dock.converters.abacus.hr_dat`.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.errors import FormatError, MissingDataError
from dock.io.text import CUT_FIX, UNREADABLE, open_binary

__all__ = [
    "LETTERS",
    "MARKS",
    "NO_STEP",
    "Header",
    "SparseBlock",
    "SparseFile",
    "Step",
    "StepStructure",
    "begins_without_step",
    "first_step",
    "step_header",
]

MARKS = (b"STEP:", b"IONIC_STEP:", b"--- Ionic Step")
"""How the first line of an ionic step begins: counted from 0, from 1, and in the new layout."""

NO_STEP = b"Matrix Dimension"
"""How a file begins that names no step."""

_HEADER = re.compile(rb"\s*(STEP:|IONIC_STEP:|--- Ionic Step)\s*(\d+)")
LETTERS = {
    "hamiltonian": "H",
    "overlap": "S",
    "density_matrix": "DM",
    "kinetic": "T",
    "position": "r",
}
"""What ABACUS calls each matrix in the header of its file."""


@dataclass(frozen=True)
class Step:
    """Where one ionic step stands in a file.

    Attributes
    ----------
    number
        Number of the step, from 0.
    offset
        Position of its header, bytes.
    """

    number: int
    offset: int


@dataclass(frozen=True, eq=False)
class StepStructure:
    """The structure that a matrix file holds beside the matrices of a step.

    Attributes
    ----------
    cell
        (3, 3) lattice vectors, Å.
    fractional
        (n_atoms, 3) in units of them, folded as the matrices count the atoms.
    labels
        Species label of each atom; empty where the file has none.
    numbers
        Atomic numbers; empty where the file has none.
    """

    cell: NDArray[np.float64]
    fractional: NDArray[np.float64]
    labels: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


class Header(NamedTuple):
    """What stands before the matrices of a step.

    Attributes
    ----------
    letter
        Which matrix it is, ``H`` or ``DM``; empty where the file does not say.
    n_blocks
        Number of lattice vectors.
    size
        Rows of the matrices.
    channel
        Spin from 0; None where the file does not say.
    is_folded
        Whether all lattice vectors are added up in one.
    structure
        That of the step, where the file has it.
    is_old
        Whether it is the layout of ``STEP:``.
    """

    letter: str = ""
    n_blocks: int = 0
    size: int = 0
    channel: int | None = None
    is_folded: bool = False
    structure: StepStructure | None = None
    is_old: bool = True


def step_header(line: bytes) -> int | None:
    """Return the number from 0 of the ionic step that a line begins; None for another line.

    Examples
    --------
    >>> [step_header(line) for line in (b"STEP: 2", b"IONIC_STEP: 2", b" --- Ionic Step 2 ---")]
    [2, 1, 1]
    """
    match = _HEADER.match(line)
    return None if match is None else int(match[2]) - (match[1] != b"STEP:")


def first_step(path: Path) -> int | None:
    """Return the number of the first ionic step in a file, from 0; None where it does not say."""
    try:
        with open_binary(path) as stream:
            head = stream.read(64)
    except UNREADABLE:
        return None
    if path.suffix == ".dat":
        return int.from_bytes(head[:4], sys.byteorder) if len(head) >= 4 else None
    return step_header(head)


def begins_without_step(path: Path) -> bool:
    """Say whether a text file of matrices names no step."""
    try:
        with open_binary(path) as stream:
            return stream.read(64).lstrip().startswith(NO_STEP)
    except UNREADABLE:
        return False


class SparseBlock(NamedTuple):
    """The matrix of one lattice vector and one component, entry by entry.

    Attributes
    ----------
    R
        Lattice vector.
    component
        0, or 0, 1, 2 for the x, y, z of a position matrix.
    rows, cols
        (n,) indices from 0, rows ascending.
    values
        (n,) real or complex, in the file's units.
    """

    R: tuple[int, int, int]
    component: int
    rows: IntArray
    cols: IntArray
    values: NDArray[Any]


@dataclass(frozen=True)
class SparseFile(ABC):
    """One file of sparse matrices; nothing is read before `steps` or `blocks`.

    Parameters
    ----------
    path
        The file.
    size
        Rows of the matrices: orbitals, doubled with spinors.
    n_vector
        3 for a file of position matrices, else 1.
    """

    path: Path
    size: int
    n_vector: int = 1

    @abstractmethod
    def find_steps(self) -> list[Step]:
        """Return the ionic steps in the order of the file; none where it is of another kind."""

    @abstractmethod
    def read_blocks(self, step: Step) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
        """Yield the lattice vectors of one step with their matrices."""

    def header(self, step: Step) -> Header:  # noqa: ARG002 - layouts without one
        """Return what stands before the matrices of a step."""
        return Header()

    @property
    def steps(self) -> list[Step]:
        """The ionic steps, in the order of the file."""
        if not self.path.is_file():
            raise MissingDataError(self.path.name, self.path.parent, "Copy it there.")
        steps = self.find_steps()
        if not steps:
            raise FormatError(
                self.path,
                "no ionic step begins in this file",
                expected="a line 'STEP: 0', 'IONIC_STEP: 1' or '--- Ionic Step 1 ---'",
                found=self._first_line(),
                fix="It is empty, cut, or no matrix file of ABACUS: copy it again.",
            )
        return steps

    def _first_line(self) -> str:
        with open_binary(self.path) as stream:
            return repr(stream.readline(60).strip().decode("utf-8", "replace"))

    def choose(self, number: int | None) -> Step:
        """Return the step of a number, or the last one.

        Raises
        ------
        MissingDataError
            When the file has no such step.
        """
        steps = self.steps
        if number is None:
            return steps[-1]
        for step in reversed(steps):
            if step.number == number:
                return step
        known = ", ".join(str(step.number) for step in steps[:20])
        raise MissingDataError(
            f"ionic step {number}", self.path, f"The file has the steps {known}."
        )

    def blocks(self, step: Step) -> Iterator[SparseBlock]:
        """Yield the matrices of one step, and check at its end that none is missing.

        Raises
        ------
        FormatError
            When the file is cut, damaged, or of another size than the basis.
        """
        seen: set[tuple[int, int, int]] = set()
        for R, blocks in self.read_blocks(step):
            if R in seen:
                self.fail(f"the lattice vector {R} occurs twice", f"step {step.number}")
            seen.add(R)
            yield from blocks
        alone = sorted(R for R in seen if (-R[0], -R[1], -R[2]) not in seen)
        if alone:
            self.fail(
                "the file is cut or incomplete",
                f"step {step.number}",
                expected="with every lattice vector R also −R",
                found=f"no partner of R = {alone[0]} ({len(alone)} such vectors)",
            )

    def check_size(self, size: int) -> None:
        """Refuse a file whose matrices have another size than the basis."""
        if size != self.size:
            self.fail(
                "the matrices have another size than the basis",
                "the header",
                expected=f"{self.size} rows",
                found=f"{size}{', as with nspin 4' if size == 2 * self.size else ''}",
                fix="Log, INPUT (nspin), STRU and matrices must be of one run: copy all of them.",
            )

    def rows(self, pointers: NDArray[np.int64], cols: IntArray, where: str) -> IntArray:
        """Return the row of each entry; refuse pointers or columns that cannot be right."""
        lengths = pointers[1:] - pointers[:-1]
        if pointers[0] != 0 or pointers[-1] != len(cols) or np.any(lengths < 0):
            self.fail(
                "the row pointers are wrong",
                where,
                expected=f"ascending from 0 to {len(cols)}",
                found=f"{pointers[0]} … {pointers[-1]}",
            )
        if cols.min() < 0 or cols.max() >= self.size:
            self.fail(
                "a column is out of range",
                where,
                expected=f"0 to {self.size - 1}",
                found=f"{cols.min()} to {cols.max()}",
            )
        rows = np.repeat(np.arange(self.size, dtype=np.min_scalar_type(self.size)), lengths)
        if not np.all((cols[1:] > cols[:-1]) | (rows[1:] > rows[:-1])):
            self.fail("the columns of a row do not ascend", where)
        return rows

    def fail(
        self,
        problem: str,
        where: str,
        *,
        expected: object = None,
        found: object = None,
        fix: str = CUT_FIX,
    ) -> NoReturn:
        """Refuse the file."""
        raise FormatError(self.path, problem, where=where, expected=expected, found=found, fix=fix)
