"""Sparse matrices of ABACUS in real space: one file, its ionic steps, their lattice vectors.

Every file is a sequence of ionic steps; a step is a sequence of lattice vectors R, each with one
matrix in compressed rows. Both R and −R are always there: that, the counts and the row pointers
show whether a file is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dock.converters.abacus.hr_csr import text_blocks, text_steps
from dock.converters.abacus.hr_dat import binary_blocks, binary_steps
from dock.converters.abacus.sparse_base import SparseBlock, SparseSource, Step
from dock.errors import FormatError, MissingDataError

__all__ = ["SparseBlock", "SparseFile", "Step"]


@dataclass(frozen=True)
class SparseFile(SparseSource):
    """One file of sparse matrices; nothing is read before `blocks`.

    Parameters
    ----------
    path
        A text file (also compressed, ``.gz``) or a binary record (``.dat``).
    size
        Rows of the matrices: orbitals, doubled with spinors.
    n_vector
        3 for a file of position matrices, else 1.
    """

    @property
    def steps(self) -> list[Step]:
        """The ionic steps, in the order of the file."""
        if not self.path.is_file():
            raise MissingDataError(self.path.name, self.path.parent, "Copy it there.")
        found = binary_steps(self) if self.path.suffix == ".dat" else text_steps(self.path)
        if not found:
            raise FormatError(
                self.path,
                "no ionic step begins in this file",
                expected="a line 'STEP: 0' or '--- Ionic Step 1 ---'",
                fix="It is empty, cut, or no matrix file of ABACUS: copy it again.",
            )
        return found

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
        reader = binary_blocks if self.path.suffix == ".dat" else text_blocks
        for R, blocks in reader(self, step):
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
