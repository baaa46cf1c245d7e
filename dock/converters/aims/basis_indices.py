"""basis-indices.out, FHI-aims' table of basis functions: shells by runs of m, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import LARGEST_L, Basis, Shell, shell_letter, shell_numbers
from dock.errors import FormatError
from dock.io.text import read_text

__all__ = ["format_basis", "read_basis"]

_TITLE = re.compile(r"^\s*fn\.\s+type\s+at\.\s+n\s+l\s+m\s*$")
_TYPE_WIDTH = 8
_FIX = "Copy basis-indices.out again; it belongs to the run that wrote the matrices."


def read_basis(path: Path, labels: Sequence[str]) -> Basis:
    """Read the shells of every species.

    A shell is a run of functions with m = −l … +l. Two different shells may share type, n and l:
    the runs tell them apart, the names do not. Shells keep the order of the file, which is that of
    the matrices. `labels` are the species of the atoms, from geometry.in.

    Raises
    ------
    FormatError
        When the table is damaged, does not have these atoms, or gives two atoms of one species
        different shells.
    """
    types, table = _read_table(path)
    l, m = table[:, 2], table[:, 3]
    atoms = _atoms(path, table[:, 0], labels)
    if len(l) == 0 or not np.array_equal(np.unique(atoms), np.arange(len(labels))):
        _fail(path, "its atoms are not those of geometry.in", f"{len(labels)} atoms", "others")
    if np.any(np.diff(atoms) < 0):
        _fail(path, "the atoms are not in order", "ascending atoms", "another order")
    starts = _shell_starts(path, atoms, l, m)
    shells: dict[str, tuple[Shell, ...]] = {}
    atom_of_shell = atoms[starts]
    bounds = np.searchsorted(atom_of_shell, np.arange(len(labels) + 1))
    for atom, label in enumerate(labels):
        mine = starts[bounds[atom] : bounds[atom + 1]]
        here = tuple(
            Shell(int(l[s]), f"{types[s]} {table[s, 1]}{shell_letter(int(l[s]))}") for s in mine
        )
        if shells.setdefault(label, here) != here:
            _fail(
                path,
                f"two atoms of species {label} have different shells",
                f"those of the first one, {[shell.label for shell in shells[label]]}",
                f"atom {atom + 1}: {[shell.label for shell in here]}",
            )
    return Basis(shells, tuple(labels))


def _read_table(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Return the type and (atom, n, l, m) of each function; the columns follow the title's."""
    lines = read_text(path).splitlines()
    at = next((number for number, line in enumerate(lines) if _TITLE.match(line)), None)
    if at is None:
        _fail(path, "the title line is missing", "'fn. type at. n l m'", repr(lines[:2]))
    title = lines[at].rstrip()
    ends = [title.index(word) + len(word) for word in ("fn.", "at.")]
    ends += [match.end() for match in re.finditer(r"(?<=\s)[nlm](?=\s|$)", title)]
    body = [line for line in lines[at + 1 :] if line.strip()]
    types = [line[ends[0] + 1 : ends[0] + 1 + _TYPE_WIDTH].strip() for line in body]
    edges = [ends[0] + 1 + _TYPE_WIDTH, *ends[1:]]
    columns = [[line[begin:end] for line in body] for begin, end in pairwise(edges)]
    # an atom number beyond the column's width is printed as stars: it is found again in `_atoms`
    columns[0] = [re.sub(r".*\*.*", "0", text) for text in columns[0]]
    try:
        table = np.array([[int(text) for text in column] for column in columns], dtype=np.int64).T
    except ValueError as error:
        _fail(path, "a line is damaged", "integers under 'at.', 'n', 'l' and 'm'", str(error))
    if any(line[edges[-1] :].strip() for line in body):
        _fail(path, "a line is longer than the table", "nothing behind 'm'", "more text")
    return types, table.reshape(-1, 4)


def _atoms(path: Path, printed: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the atom of each function, from 0; overflowed ones continue species by species."""
    atoms = printed - 1
    hidden = np.flatnonzero(printed == 0)
    if len(hidden) == 0:
        return atoms
    first = int(hidden[0])
    last = int(atoms[first - 1]) if first else -1
    sizes = {labels[a]: int(n) for a, n in enumerate(np.bincount(atoms[:first]))} if first else {}
    unknown = sorted({label for label in labels[last + 1 :] if label not in sizes})
    counts = [sizes.get(label, 0) for label in labels[last + 1 :]]
    if unknown or sum(counts) != len(printed) - first or not np.all(printed[first:] == 0):
        _fail(
            path,
            "atom numbers overflow their column (***) and cannot be continued",
            "each species among the atoms that are printed",
            ", ".join(unknown) or "another number of functions",
        )
    atoms[first:] = np.repeat(np.arange(last + 1, len(labels)), counts)
    return atoms


def _shell_starts(
    path: Path, atoms: NDArray[np.int64], l: NDArray[np.int64], m: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return where each shell begins; refuse runs of m that are no whole shells."""
    starts = np.flatnonzero(m == -l)
    lengths = np.diff(np.append(starts, len(l)))
    good = len(starts) > 0 and starts[0] == 0 and np.array_equal(lengths, 2 * l[starts] + 1)
    if good:
        first = np.repeat(starts, lengths)
        good = (
            np.array_equal(m, np.arange(len(l)) - first - l[first])
            and np.array_equal(l, l[first])
            and np.array_equal(atoms, atoms[first])
            and int(l.max()) <= LARGEST_L
        )
    if not good:
        _fail(path, "the functions do not form shells", "runs of m = -l ... +l", "other runs")
    return starts


def _fail(path: Path, problem: str, expected: str, found: str) -> NoReturn:
    raise FormatError(path, problem, expected=expected, found=found[:200], fix=_FIX)


def format_basis(basis: Basis, order: Mapping[str, Sequence[int]]) -> str:
    """Return the text of basis-indices.out; `order` has each species' shells as the matrices do."""
    lines = ["", "  fn.   type   at.   n   l   m"]
    number = 0
    names = {label: list(_names(basis, label, order[label])) for label in basis.species}
    for atom, label in enumerate(basis.labels):
        for kind, n, l in names[label]:
            for m in range(-l, l + 1):
                number += 1
                index = f"{number:5d}" if number < 10**5 else "*****"
                place = f"{atom + 1:3d}" if atom < 999 else "***"
                lines.append(f"{index} {kind:<8s} {place} {n:3d} {l:3d} {m:3d}")
    return "\n".join(lines) + "\n"


def _names(basis: Basis, label: str, order: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Yield type, n and l of the shells: those of FHI-aims where the labels are its own."""
    shells = [basis.shells[label][index] for index in order]
    numbers = shell_numbers([shell.l for shell in shells])
    for shell, number in zip(shells, numbers, strict=True):
        own = re.fullmatch(r"([a-z]{1,8}) (\d+)[a-z]", shell.label)
        if own is not None:
            yield own.group(1), int(own.group(2)), shell.l
        else:
            yield "atomic", shell.l + number, shell.l
