"""From a calculation to a unified folder: atoms grouped, pairs united, all else carried."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.converters.deeph.beside import MOMENTS, Beside
from dock.converters.deeph.blockfile import FREE, LOCAL, NONLOCAL, write_matrix
from dock.converters.deeph.folder import FILES, MADE_BY, PREDICTED, PREDICTION, Head
from dock.converters.deeph.info import (
    CARRIED,
    FORMAT_VERSION,
    LAYOUT_VERSION,
    OWN,
    SHELL_KINDS,
    Info,
)
from dock.converters.deeph.pattern import HKB
from dock.converters.deeph.poscar import format_poscar
from dock.converters.doubled_blocks import QUADRANTS, STACKED
from dock.converters.format import WriteOptions
from dock.core.calculation import Calculation
from dock.core.elements import CUSTOM, SYMBOLS, atomic_number
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LossError, UsageError
from dock.io.files import write_text

__all__ = ["SETTINGS", "write_folder"]

_log = logging.getLogger("dock")

LAYOUTS = ("plain", "split-hkb", "expanded", "stacked")
SETTINGS = {
    "layout": "plain; split-hkb: H as hamiltonian.h5 and hkb.h5; expanded: S and r as 1₂⊗S; "
    "stacked: aimspy's collinear blocks"
}
_SPIN_OF_LAYOUT = {
    "split-hkb": (Spin.NONCOLLINEAR,),
    "expanded": (Spin.COLLINEAR, Spin.NONCOLLINEAR),
    "stacked": (Spin.COLLINEAR,),
}
_RELEASE_ABOVE = 100_000  # pairs above which matrices are not kept in memory while writing


def write_folder(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the files of a unified folder into a folder that has none of them yet.

    Atoms are grouped by element in order of first appearance, as the format demands; the source's
    order is kept in info.json. All files get the union of the matrices' pairs, in one order. A
    Hamiltonian that a model predicted stays ``hamiltonian_pred.h5``.

    Spin moments that the code printed go into ``moments.json``. A `dock.converters.format.Writer`;
    info.json is the last file.

    Raises
    ------
    LossError
        When one element has two different bases, unless lossy writing was allowed.
    """
    names = options.quantities or ()
    layout = _layout(calc, options)
    structure, shells = _unify_species(calc, allow_lossy=options.allow_lossy)
    order = _element_order(structure)
    grouped = calc if order is None else calc.permute_atoms(order)
    structure = structure if order is None else structure.select(order)
    beside = calc.beside if isinstance(calc.beside, Beside) else None
    if beside is not None and order is not None:
        known = {f"info.json: {key}" for key in CARRIED}
        if left := [name for name in beside.names() if name not in known]:
            _log.warning(
                "%s: not carried, because the atoms are regrouped: %s", calc.source, ", ".join(left)
            )
        beside = None
    pairs = _common_pairs(grouped, [name for name in names if not quantity_of(name).own_pairs])
    written, carried = [], set()
    for name in names:
        is_own = beside is not None and beside.is_own(name, calc)
        for file, part, matrix, shape in _files_of(name, grouped, beside, layout):
            target, carry = folder / file, None
            if beside is not None and is_own:
                source = beside.files[name][-1 if file == HKB else 0]
                carry = beside.carry_into(source)
                carried.add(source)
            write_matrix(
                target,
                _on_pairs(calc, matrix, pairs),
                _attributes(calc, matrix, layout) | ({"quantity": part} if part else {}),
                shape=shape,
                carry=carry,
                single_precision=options.single_precision,
            )
            written.append(target)
        if len(pairs) > _RELEASE_ABOVE:
            grouped.release()
            calc.release()
    if beside is not None:
        written += _carry_files(calc, beside, folder, (names, carried))
    info = _info(calc, grouped, order, shells, options)
    elements = _own_elements(grouped.structure, structure)
    if elements:
        info = replace(info, own={**info.own, "elements": elements})
    texts = {
        **_moments(grouped),
        "POSCAR": format_poscar(structure),
        "info.json": info.to_json(structure, grouped.basis),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def _moments(calc: Calculation) -> dict[str, str]:
    """Return name and text of the file of the moments that a code printed, if it did."""
    return {} if calc.moments is None else {MOMENTS: json.dumps(calc.moments.tolist()) + "\n"}


def _layout(calc: Calculation, options: WriteOptions) -> str:
    """Return how matrices are laid out, after refusing what the spin does not allow."""
    layout = options.choice("layout", LAYOUTS, "plain")
    allowed = _SPIN_OF_LAYOUT.get(layout)
    if allowed is not None and calc.spin not in allowed:
        words = " or ".join(spin.value for spin in allowed)
        raise UsageError(
            f"{calc.source}: the layout '{layout}' is for {words} spin; this has spin "
            f"'{calc.spin.value}'."
        )
    if layout == "split-hkb" and "hamiltonian" not in (options.quantities or ()):
        raise UsageError(f"{calc.source}: there is no H to write in the layout 'split-hkb'.")
    if layout == "expanded" and _stays_split(calc):
        raise UsageError(
            f"{calc.source}: its H is split, and is not there: beside {HKB} the overlap cannot be "
            "written in the layout 'expanded'."
        )
    return layout


def _stays_split(calc: Calculation) -> bool:
    """Say whether a folder without H still says that H is split: a prediction may come to it."""
    is_split = isinstance(calc.beside, Beside) and calc.beside.info.split
    return is_split and "hamiltonian" not in calc.available


_File = tuple[str, str, AOMatrix, tuple[int, int] | None]


def _files_of(name: str, calc: Calculation, beside: Beside | None, layout: str) -> Iterator[_File]:
    """Yield the files of a matrix: name, what it calls itself, the matrix, shape of its blocks."""
    if name == "hamiltonian" and layout == "split-hkb":
        local, rest = _parts(calc, beside)
        yield FILES[name], LOCAL, local, None
        yield HKB, NONLOCAL, rest, None
        return
    matrix, shape = calc.require(name), None
    file = PREDICTION if name == "hamiltonian" and name in _predicted(calc) else FILES[name]
    if name in FREE and layout == "split-hkb" and _is_scalar(matrix):
        matrix = replace(matrix, spin=Spin.NONE, entries=matrix.entries[:1].real)
    if layout == "expanded" and not matrix.facts.has_spin:
        shape = QUADRANTS
    elif layout == "stacked" and matrix.facts.has_spin:
        shape = STACKED
    yield file, "", matrix, shape


def _predicted(calc: Calculation) -> Mapping[str, Any]:
    """Return the matrices that a model predicted, each with the model."""
    return _known(calc, PREDICTED)


def _known(calc: Calculation, key: str) -> Mapping[str, Any]:
    """Return what a key of `Provenance.extra` says of matrices by name."""
    known = calc.provenance.extra.get(key)
    return known if isinstance(known, dict) else {}


def _on_pairs(calc: Calculation, matrix: AOMatrix, pairs: Pairs) -> AOMatrix:
    """Return a matrix on the pairs of all, unless it has its own; say where halves get zeros."""
    if matrix.facts.own_pairs:
        return matrix
    if not (matrix.pairs.is_same(pairs) or matrix.pairs.is_closed):
        text = "%s: some pairs of the %s lack their partner (−R, j, i), which is written as zero"
        _log.warning(text, calc.source, matrix.facts.name)
    return matrix.on_pairs(pairs)


def _is_scalar(matrix: AOMatrix) -> bool:
    """Say whether a matrix of spinors is real and the same for both spins."""
    uu, ud, du, dd = matrix.entries
    return bool(np.array_equal(uu, dd) and not (ud.any() or du.any() or uu.imag.any()))


def _parts(calc: Calculation, beside: Beside | None) -> tuple[AOMatrix, AOMatrix]:
    """Return the two parts of H: those of a split source, else its spin-free part and the rest."""
    if beside is not None and beside.is_split and beside.is_own("hamiltonian", calc):
        head = Head(beside.folder, beside.info, calc.structure, calc.basis)
        return head.read_parts(beside.files["hamiltonian"][0])
    _log.warning(
        "%s: which part of H is nonlocal is not known: %s gets what is real and the same for both "
        "spins, %s the rest, the spin–orbit part",
        calc.source,
        FILES["hamiltonian"],
        HKB,
    )
    H = calc.require("hamiltonian")
    mean = 0.5 * (H.entries[:1].real + H.entries[3:].real)
    rest = np.array(H.entries)
    rest[[0, 3]] -= mean
    return replace(H, spin=Spin.NONE, entries=mean), H.with_entries(rest)


def _carry_files(
    calc: Calculation, beside: Beside, folder: Path, done: tuple[tuple[str, ...], set[str]]
) -> list[Path]:
    """Carry what lies beside the matrices along, and say what is not.

    `done` are the matrices that were written, and the files whose further content went along.
    """
    names, carried = done
    same = "hamiltonian" not in beside.files or (
        "hamiltonian" in names and beside.is_own("hamiltonian", calc)
    )
    written, left = beside.carry_files(folder, same_hamiltonian=same)
    left += beside.unread()
    left += [
        f"the key {key} of info.json, which is dock's own"
        for key in beside.info.others
        if key == "dock"
    ]
    for name in names:
        for file in beside.files.get(name, ()):
            if file not in carried:
                left += [f"{extra} of {file}" for extra in beside.extras(file)]
    if left:
        _log.warning("%s: not carried: %s", calc.source, ", ".join(left))
    return written


def _info(
    calc: Calculation,
    grouped: Calculation,
    order: list[int] | None,
    shells: dict[str, tuple[int, ...]],
    options: WriteOptions,
) -> Info:
    """Return what goes into info.json: what is known here, and what the source's passes on."""
    layout = options.choice("layout", LAYOUTS, "plain")
    own = _own_facts(calc, grouped, order, options)
    info = Info(
        shells,
        calc.spin is not Spin.NONE,
        calc.fermi_level,
        calc.n_electrons,
        own,
        split=layout == "split-hkb",
        stacked=layout == "stacked",
        others=_shell_lists(calc, shells),
    )
    if not isinstance(calc.beside, Beside):
        return info
    old = calc.beside.info
    stored = old.own.get("provenance")
    own["provenance"] = {**(stored if isinstance(stored, dict) else {}), **own["provenance"]}
    return replace(
        info,
        element_shells={
            **shells,
            **{x: ls for x, ls in old.element_shells.items() if x not in shells},
        },
        own={**{key: value for key, value in old.own.items() if key not in OWN}, **own},
        split=info.split or _stays_split(calc),
        orthogonal=old.orthogonal,
        others={key: x for key, x in old.others.items() if order is None or key in CARRIED},
    )


def _shell_lists(
    calc: Calculation, shells: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[str, list[int]]]:
    """Return which shells of the elements are core, valence and unoccupied, where a run says it."""
    known = calc.provenance.extra.get(SHELL_KINDS)
    lists: dict[str, dict[str, list[int]]] = {}
    for kind, numbers in known.items() if isinstance(known, dict) else ():
        for label, element in calc.structure.element_of.items():
            if label in numbers and calc.basis.ls(label) == shells[element]:
                lists.setdefault(f"elements_{kind}_orbital_index", {})[element] = numbers[label]
    return lists


def _version(layout: str) -> str:
    return FORMAT_VERSION if layout == "plain" else LAYOUT_VERSION


def _own_facts(
    calc: Calculation, grouped: Calculation, order: list[int] | None, options: WriteOptions
) -> dict[str, Any]:
    """Return what goes under the key ``dock`` of info.json."""
    structure, source = grouped.structure, calc.provenance
    facts: dict[str, Any] = {
        "format_version": LAYOUT_VERSION
        if _stays_split(calc)
        else _version(options.choice("layout", LAYOUTS, "plain")),
        "dock_version": __version__,
        "spin": calc.spin.value,
        "pbc": list(structure.pbc),
    }
    if structure.labels != structure.symbols:
        facts["species"] = list(structure.labels)
    extra = dict(source.extra)
    inherited = extra.pop("source_order", None)
    extra.pop(SHELL_KINDS, None)
    if order is not None:
        inherited = [inherited[atom] for atom in order] if isinstance(inherited, list) else order
    if inherited is not None:
        facts["source_order"] = inherited
    facts["provenance"] = {
        "code": source.code,
        "version": source.version,
        "files": list(source.files),
        "command": options.command or source.command,
        "extra": extra,
    }
    return facts


def _attributes(calc: Calculation, matrix: AOMatrix, layout: str) -> dict[str, Any]:
    """Return the attributes of a block file."""
    facts = matrix.facts
    attributes: dict[str, Any] = {
        "dock_format_version": _version(layout),
        "quantity": facts.name,
        "unit": facts.unit,
        "spin": calc.spin.value if facts.has_spin else Spin.NONE.value,
        "source_code": f"{calc.provenance.code} {calc.provenance.version}".strip(),
        "written_by": f"dock {__version__}",
    }
    if facts.name in (makers := _known(calc, MADE_BY)):
        attributes["source_code"] = makers[facts.name]
    if facts.name in (predicted := _predicted(calc)):
        attributes["source_code"] = f"dock model {predicted[facts.name]}"
        attributes["model"] = predicted[facts.name]
    if facts.name.endswith("density_matrix"):
        attributes["spin_sum"] = (
            "both spins: Tr(rho S) is the number of electrons"
            if calc.spin is Spin.NONE
            else "each spin part separately: Tr(rho_uu S) + Tr(rho_dd S) is the number of electrons"
        )
    return attributes


def _unify_species(
    calc: Calculation, *, allow_lossy: bool
) -> tuple[Structure, dict[str, tuple[int, ...]]]:
    """Return the structure and the shells by element symbol; refuse two bases of one element."""
    shells: dict[str, tuple[int, ...]] = {}
    symbols: dict[str, str] = {}
    of_label = calc.structure.element_of
    custom = iter([name for name in CUSTOM if name not in of_label.values()])
    for label, name in of_label.items():
        ls = calc.basis.ls(label)
        symbols[label] = name
        if shells.setdefault(name, ls) == ls:
            continue
        if not allow_lossy and name != SYMBOLS[0]:  # ghosts are no element, and come back as such
            raise LossError(
                f"{calc.source}: the element {name} has two bases ({list(shells[name])} and "
                f"{list(ls)} for '{label}'), but the unified folder holds one for each element. "
                "Pass allow_lossy=True to write the second as the custom element My1."
            )
        try:
            symbols[label] = next(custom)
        except StopIteration:
            raise LossError(
                f"{calc.source}: more than {len(CUSTOM)} species need a custom element."
            ) from None
        shells[symbols[label]] = ls
    if all(symbols[label] == name for label, name in of_label.items()):
        return calc.structure, shells
    numbers = np.array([atomic_number(symbols[label]) for label in calc.structure.labels])
    return replace(calc.structure, numbers=numbers), shells


def _own_elements(own: Structure, written: Structure) -> dict[str, str]:
    """Return the element of each species that POSCAR calls by a custom one."""
    names = written.element_of
    return {label: name for label, name in own.element_of.items() if names[label] != name}


def _element_order(structure: Structure) -> list[int] | None:
    """Return the order that brings each element's atoms together, None where they are."""
    order = structure.element_order
    return None if order == sorted(order) else order


def _common_pairs(calc: Calculation, names: Sequence[str]) -> Pairs:
    """Return the union of the pairs of the matrices, which all their files then have."""
    if not names:
        nothing = np.zeros(0, dtype=np.int32)
        return Pairs(np.zeros((0, 3), dtype=np.int32), nothing, nothing, calc.structure.n_atoms)
    pairs = calc.require(names[0]).pairs
    for name in names[1:]:
        other = calc.require(name).pairs
        if not pairs.is_same(other):
            pairs = pairs.union(other)
    return pairs
