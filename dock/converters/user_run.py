"""A user's own run, as a restart needs to know it: its input, its atoms, its k-points, its filling.

What each code's input says is read in ``dock.converters.<code>.user_run``; `dock.restart` brings a
calculation into the order of that input and has the files written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.io.files import readable
from dock.states.kmesh import KMesh
from dock.states.smearing import Smearing

__all__ = [
    "COLD",
    "Restart",
    "UserRun",
    "copy_beside",
    "lies_in",
    "listed_points",
    "only_input",
    "read_input",
    "width_of",
    "with_lines",
]

COLD = 1e-4
"""Width in eV that stands for none: as sharp as makes no difference to a start."""


@dataclass(frozen=True, eq=False, kw_only=True)
class UserRun:
    """What an input and the run that it made say.

    Attributes
    ----------
    input
        The file that a restart changes.
    label
        By which the code calls its files.
    structure, spin
        The atoms of the input, in its order and where it has them.
    shells
        The l of each atom's shells; None where neither input nor run says them.
    sorted_by_l
        Whether the code sorts an atom's shells by l.
    mesh
        Its k-points; None where no density matrix is made.
    smearing
        How it fills its states.
    n_electrons
        Electrons per cell, where the run says them.
    files
        Files that the input names and that lie in its folder: they go along as they are.
    needs
        What else the run needs, in words: files that lie elsewhere or were not found.
    cautions
        What the input asks for and the density matrix does not follow, in sentences.
    """

    input: Path
    label: str
    structure: Structure
    spin: Spin
    shells: tuple[tuple[int, ...], ...] | None
    sorted_by_l: bool = False
    mesh: KMesh | None = None
    smearing: Smearing | None = None
    n_electrons: float | None = None
    files: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restart:
    """How a code starts from given matrices.

    Attributes
    ----------
    read
        From a run's folder or input to a `UserRun`.
    write
        Writes the files of a restart into an empty folder: a calculation in the order of the
        run's input, with the matrices that are needed, goes into a copy of that input.
    matrices
        What is needed of ``hamiltonian`` and ``density_matrix``.
    note
        What the user should know of such a restart.
    """

    read: Callable[[Path], UserRun]
    write: Callable[[Calculation, UserRun, Path], list[Path]]
    matrices: tuple[str, ...]
    note: str = ""


def read_input(path: Path) -> str:
    """Return the text of an input, with every byte and every end of a line as it is."""
    with readable(path):
        return path.read_bytes().decode("utf-8", "surrogateescape")


def with_lines(
    text: str, lines: Mapping[str, str], key: Callable[[str], str], *, first: bool
) -> str:
    r"""Return an input with some of its lines replaced, or added where it has none such.

    Parameters
    ----------
    lines
        New line of each keyword, without its end.
    key
        Returns a line's keyword as `lines` has it.
    first
        Add lines at the top of the input, where a code takes the first mention of a keyword.

    Examples
    --------
    >>> with_lines("a 1\nb 2\n", {"b": "b 3", "c": "c 4"}, lambda line: line[:1], first=False)
    'a 1\nb 3\nc 4\n'
    """
    end = "\r\n" if "\r\n" in text else "\n"
    rows, found = text.split("\n"), set()
    for number, row in enumerate(rows):
        name = key(row)
        if name in lines:
            found.add(name)
            rows[number] = lines[name] + ("\r" if row.endswith("\r") else "")
    text = "\n".join(rows)
    added = "".join(line + end for name, line in lines.items() if name not in found)
    if first:
        return added + text
    return text + (end if added and text and not text.endswith("\n") else "") + added


def only_input(folder: Path, found: Sequence[Path], kind: str) -> Path:
    """Return the one input of a folder; a FormatError where there are several, or none."""
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:10]) or "none"
    raise FormatError(
        folder, f"this is no run with one {kind}", found=names, fix=f"Give the {kind} itself."
    )


def listed_points(path: Path, points: ArrayLike, weights: ArrayLike) -> KMesh:
    """Return k-points of a list, (n, 3) fractional, with weights of any sum.

    A FormatError naming the file where weights are negative or all zero.
    """
    table, shares = np.array(points, np.float64), np.array(weights, np.float64)
    if shares.min() < 0 or shares.sum() <= 0:
        raise FormatError(
            path, "weights of k-points are not negative, nor all zero", found=shares.tolist()[:4]
        )
    count = len(table)
    return KMesh((count, 1, 1), (0.0, 0.0, 0.0), table, shares / shares.sum(), np.arange(count))


def width_of(path: Path, keyword: str, number: float, unit_ev: float = 1.0) -> float:
    """Return the width of a filling in eV, `COLD` where an input asks for none.

    A FormatError naming the input and its keyword where it is negative.

    Examples
    --------
    >>> width_of(Path("a.fdf"), "ElectronicTemperature", 25.0, 1e-3)
    0.025
    """
    if number < 0:
        raise FormatError(path, "a width of the filling is negative", where=keyword, found=number)
    return max(number * unit_ev, COLD)


def lies_in(path: Path, folder: Path) -> bool:
    """Say whether a file that an input in a folder names can be copied along with that input.

    Examples
    --------
    >>> lies_in(Path("run/parts/a.fdf"), Path("run")), lies_in(Path("run/../a.fdf"), Path("run"))
    (True, False)
    """
    return path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts


def copy_beside(run: UserRun, folder: Path) -> list[Path]:
    """Copy the files that go along with a run's input; return them."""
    written = []
    for path in run.files:
        target = folder / path.relative_to(run.input.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        with readable(path):
            shutil.copyfile(path, target)
        written.append(target)
    return written
