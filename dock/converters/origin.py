"""What a calculation remembers of the run that it came from, and what its species are called."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import overload

import numpy as np

from dock.core.arrays import FloatArray, Int64Array
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.elements import SYMBOLS
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure

__all__ = [
    "in_source_order",
    "number_of",
    "numbered_labels",
    "of_elements",
    "relabelled",
    "with_moved_atoms",
]

_LISTED = 12
_log = logging.getLogger("dock")


def in_source_order(calc: Calculation) -> Calculation:
    """Return the calculation with the atoms as they stood in the run or the structure file.

    A unified folder groups them by element. What a code reads beside the user's own input, such
    as a density matrix to start from, has no atoms of its own, and belongs to that input's order;
    that it is another than the folder's is said.
    """
    order = calc.provenance.extra.get("source_order")
    if not isinstance(order, list):
        return calc
    back = [int(atom) for atom in np.argsort(order)]
    extra = {key: value for key, value in calc.provenance.extra.items() if key != "source_order"}
    calc = calc.permute_atoms(back).replace(provenance=replace(calc.provenance, extra=extra))
    if back != sorted(back):
        symbols = calc.structure.symbols
        words = " ".join(symbols[:_LISTED]) + (" …" if len(symbols) > _LISTED else "")
        _log.warning(
            "%s: atoms in the order of the input that it was made of, not grouped: %s",
            calc.source,
            words,
        )
    return calc


def of_elements(structure: Structure) -> dict[str, str]:
    """Return new names for the species that are not called after their element; ghosts keep theirs.

    A name is the element's symbol, with a number where another species has that name: what codes
    understand that look for basis and pseudopotential by it. SIESTA's labels are free: ``N_bn``.

    Examples
    --------
    >>> import dock
    >>> of_elements(dock.read("fixtures/siesta/graphene").structure.relabel(["C_bn", "C1"]))
    {'C_bn': 'C'}
    """
    names: dict[str, str] = {}
    known = {
        label
        for label, symbol in structure.element_of.items()
        if re.fullmatch(rf"{symbol}\d*", label) or symbol == SYMBOLS[0]
    }
    for label, symbol in structure.element_of.items():
        if label in known:
            continue
        wanted = (symbol, *(f"{symbol}{n}" for n in range(1, len(structure.labels) + 1)))
        names[label] = next(name for name in wanted if name not in known)
        known.add(names[label])
    return names


def relabelled(calc: Calculation, names: Mapping[str, str]) -> Calculation:
    """Return the calculation with other names for some of its species, which stay different."""
    if all(names.get(label, label) == label for label in calc.basis.species):
        return calc
    labels = [names.get(label, label) for label in calc.structure.labels]
    structure = calc.structure.relabel(labels)
    shells = {names.get(label, label): calc.basis.shells[label] for label in calc.basis.species}
    basis = Basis(shells, structure.labels)
    made = partial(_renamed, calc, structure, basis)
    matrices = {name: partial(made, name) for name in calc.available}
    return replace(calc, structure=structure, basis=basis, matrices=matrices, beside=None)


# What makes a matrix later is a function of its module with its arguments: a calculation can be
# pickled then, and another process reads its matrices.


def _renamed(calc: Calculation, structure: Structure, basis: Basis, name: str) -> AOMatrix:
    return replace(calc.require(name), structure=structure, basis=basis)


def with_moved_atoms(calc: Calculation, shift: Int64Array, positions: FloatArray) -> Calculation:
    """Return the calculation with atoms in other cells, the pairs' R counted from there.

    With an atom at τ = τ' + n·cell, the pair (R, i, j) becomes (R + n_j − n_i, i, j), and the
    position matrix loses (n_i·cell) S.

    Parameters
    ----------
    shift
        (n_atoms, 3) the lattice vectors n.
    positions
        (n_atoms, 3) the new positions τ', Å.

    Raises
    ------
    MissingDataError
        When a position matrix has to be moved and there is no overlap.
    """
    structure = replace(calc.structure, positions=positions)
    moved = partial(_moved, calc, structure, shift)
    matrices = {name: partial(moved, name) for name in calc.available}
    return replace(calc, structure=structure, matrices=matrices, beside=None)


def _moved(calc: Calculation, structure: Structure, shift: Int64Array, name: str) -> AOMatrix:
    matrix = calc.require(name)
    entries = np.array(matrix.entries)
    if name == "position":
        overlap = calc.require("overlap", "It is needed to fold the position matrix.")
        entries -= _times_overlap(matrix, overlap, shift @ calc.structure.cell)
    pairs = matrix.pairs
    there = Pairs(pairs.R + shift[pairs.j] - shift[pairs.i], pairs.i, pairs.j, pairs.n_atoms)
    return replace(matrix, structure=structure, pairs=there, entries=entries)


def _times_overlap(matrix: AOMatrix, overlap: AOMatrix, vectors: FloatArray) -> FloatArray:
    """Return vector of atom i times S, on the pairs of the position matrix."""
    full = overlap.on_pairs(overlap.pairs.union(matrix.pairs))
    mine = full.take_pairs(full.pairs.find(matrix.pairs.R, matrix.pairs.i, matrix.pairs.j))
    sizes = matrix.layout.rows * matrix.layout.cols
    moved: FloatArray = np.repeat(vectors[matrix.pairs.i], sizes, axis=0).T * mine.entries[0]
    return moved


@overload
def number_of(extra: Mapping[str, object], key: str, default: float) -> float: ...
@overload
def number_of(extra: Mapping[str, object], key: str, default: None) -> float | None: ...
def number_of(extra: Mapping[str, object], key: str, default: float | None) -> float | None:
    """Return a number of `Provenance.extra`, or the default where there is none."""
    value = extra.get(key)
    return float(value) if isinstance(value, int | float) else default


def numbered_labels(
    names: Sequence[str], shells: Sequence[tuple[int, ...]], mark: str = ""
) -> tuple[str, ...]:
    """Return a species label for each atom: its name, numbered where atoms of one name differ.

    They differ in the l of their shells; `mark` stands between name and number.

    Examples
    --------
    >>> numbered_labels(["H", "O", "H"], [(0,), (0, 1), (0, 0)])
    ('H1', 'O', 'H2')
    """
    kinds: dict[str, list[tuple[int, ...]]] = {}
    for name, ls in zip(names, shells, strict=True):
        if ls not in kinds.setdefault(name, []):
            kinds[name].append(ls)
    return tuple(
        name if len(kinds[name]) == 1 else f"{name}{mark}{kinds[name].index(ls) + 1}"
        for name, ls in zip(names, shells, strict=True)
    )
