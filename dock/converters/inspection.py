"""What a run holds, whether it is sound, and how two runs differ: plain data for any output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.dataset import broken_folders
from dock.converters.format import Format, ReadOptions
from dock.converters.plan import find_runs
from dock.converters.registry import detect, get_format
from dock.core.calculation import Calculation
from dock.core.check import Finding, check_calculation, where_known
from dock.core.compare import Difference, compare
from dock.core.orbital_listing import list_orbitals, order_of_code
from dock.core.quantity import quantity_of
from dock.errors import DockError, LayoutError, UsageError
from dock.states.filling_check import check_filling

__all__ = [
    "Comparison",
    "compare_runs",
    "describe",
    "describe_format",
    "findings_of",
    "runs_to_check",
]

_SAME_PLACE = 1e-3  # Å: cells and positions of one structure never differ by more


def describe(entry: Format, main: Path, *, orbitals: bool = False) -> dict[str, Any]:
    """Return what a run holds: structure, basis, levels, matrices, conventions and origin.

    With `orbitals` also what each row of the matrices is: `dock.core.orbital_listing`.

    Format and main path are those of `dock.converters.resolve`. A run without orbitals has its own
    keys, see `Format.describe`; one that cannot be read is a DockError.
    """
    content: dict[str, Any] = {"path": str(main), "format": entry.name}
    if entry.describe is not None:
        if orbitals:
            raise UsageError(f"{main} has no orbitals: it is a plane-wave run.")
        return content | entry.describe(main)
    calc = entry.load_main(main, ReadOptions())
    content |= _describe_calculation(calc)
    if orbitals:
        order = calc.provenance.extra.get("source_order")
        atoms = [int(atom) for atom in order] if isinstance(order, list) else None
        code = order_of_code(calc.provenance.code)
        content["orbital_table"] = list_orbitals(calc.basis, code, atoms)
    return content


def _describe_calculation(calc: Calculation) -> dict[str, Any]:
    structure, basis, origin = calc.structure, calc.basis, calc.provenance
    return {
        "formula": structure.formula,
        "n_atoms": structure.n_atoms,
        "cell_angstrom": structure.cell.tolist(),
        "pbc": list(structure.pbc),
        "species": [_describe_species(calc, label) for label in basis.species],
        "n_orbitals": basis.n_orbitals,
        "orbital_order": "shells as listed, m = -l..l; p: y z x; d: xy yz z2 xz x2-y2",
        "spin": calc.spin.value,
        "fermi_level_eV": calc.fermi_level,
        "n_electrons": calc.n_electrons,
        "matrices": list(calc.available),
        "matrix_files": {} if calc.beside is None else {**calc.beside.files},
        **_sparsity(calc),
        "units": "energies eV, lengths angstrom, overlap and density matrix without unit",
        "bloch_sum": "O(k) = sum_R exp(+2 pi i k.R) O(R), no phase from positions",
        "provenance": {
            "code": origin.code,
            "version": origin.version,
            "files": list(origin.files),
            "command": origin.command,
            "prediction": origin.extra.get("prediction"),
        },
        "beside": [] if calc.beside is None else calc.beside.rows(),
        "notes": [*calc.notes, *filter(None, [where_known(calc)])],
    }


def _describe_species(calc: Calculation, label: str) -> dict[str, Any]:
    structure, basis = calc.structure, calc.basis
    return {
        "label": label,
        "element": structure.element_of[label],
        "atoms": structure.labels.count(label),
        "basis": basis.describe(label),
        "shells_l": list(basis.ls(label)),
        "orbitals": sum(shell.n_orbitals for shell in basis.shells[label]),
    }


def _sparsity(calc: Calculation) -> dict[str, Any]:
    """Return the counts of the overlap, or of another matrix; None where there is none."""
    names = ("n_pairs", "n_entries", "fill", "lattice_vectors")
    there = sorted(calc.available, key=lambda name: name != "overlap")
    if not there:
        return dict.fromkeys(names)
    matrix = calc.require(there[0])
    n_entries = matrix.layout.n_entries
    fill = n_entries / calc.basis.n_orbitals**2
    counts = (len(matrix.pairs), n_entries, fill, len(matrix.pairs.lattice_vectors))
    return dict(zip(names, counts, strict=True))


def describe_format(name: str) -> dict[str, Any]:
    """Return what a format reads and writes, matrices by letter; a broken one is a DockError."""
    entry = get_format(name)
    return {
        "name": name,
        "title": entry.title,
        "reads": _letters(entry.reads) if entry.read else [],
        "writes": _letters(entry.writes) if entry.write else [],
        "read_spins": [spin.value for spin in entry.read_spins] if entry.read else [],
        "write_spins": [spin.value for spin in entry.write_spins] if entry.write else [],
        "versions": entry.versions,
        "settings": dict(entry.settings),
        "read_settings": dict(entry.read_settings),
        "notes": entry.notes,
    }


def _letters(names: Sequence[str]) -> list[str]:
    return [quantity_of(name).letter for name in names]


def runs_to_check(paths: Sequence[str | Path], source: str | None = None) -> list[tuple[str, Path]]:
    """Return format and main path of every run, and of unified folders that lost a file.

    `find_runs` passes over what it does not recognise; a data set must not lose a structure so.
    """
    runs = [(name, main) for name, main, _ in find_runs(paths, source=source)]
    for path in map(Path, paths):
        if path.is_dir() and source in (None, "deeph") and detect(path) is None:
            runs += [("deeph", place) for place, _ in broken_folders(path)]
    return list(dict.fromkeys(runs))


def findings_of(entry: Format, main: Path, *, is_thorough: bool = False) -> list[Finding]:
    """Check the physics of one run, and what the code's other output says of it.

    A run that cannot be read is a finding, not an error: others of a data set follow. With
    `is_thorough` the states of large systems are counted too.
    """
    try:
        calc = entry.load_main(main, ReadOptions())
        findings = check_calculation(calc)
        wrong = {finding.what for finding in findings if finding.level == "error"}
        if wrong <= {"scf"}:  # S(k) > 0 above all
            findings += check_filling(calc, is_thorough=is_thorough)
        own = entry.check(main)
        if any(finding.what == "scf" and finding.level == "error" for finding in own):
            findings = [finding for finding in findings if finding.what != "scf"]
        return [*findings, *_check_beside(calc), *own]
    except DockError as error:
        return [Finding("error", "files", str(error))]


def _check_beside(calc: Calculation) -> list[Finding]:
    """Note what the folder has beside what was checked."""
    if calc.beside is None:
        return []
    try:
        fields = calc.beside.fields()
    except DockError as error:
        return [Finding("error", "beside", str(error))]
    for name, (_, cell) in fields.items():
        if name.endswith(": cell") and np.abs(cell - calc.structure.cell).max() > _SAME_PLACE:
            text = f"{name} is not that of POSCAR: the file belongs to another structure."
            return [Finding("error", "beside", text)]
    rows = calc.beside.rows(calc)
    return [Finding("note", "beside", f"{row['name']}: {row['what']}.") for row in rows]


class Comparison(NamedTuple):
    """How the matrices of two calculations differ, and the names of those that only one has."""

    differences: tuple[Difference, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare_runs(first: Calculation, second: Calculation) -> Comparison:
    """Compare two calculations of one structure, atoms in the same order, matrix by matrix.

    A pair that only one of them has counts as zero in the other. Behind the matrices come energies,
    forces and other numbers of unified folders.

    Raises
    ------
    LayoutError
        When structures or bases differ, or they have no matrix in common.
    """
    mine, other = first.structure, second.structure
    if not mine.is_close(other, _SAME_PLACE):
        raise LayoutError(
            f"{first.source} and {second.source} are different structures: {mine.formula} with "
            f"{mine.n_atoms} atoms, {other.formula} with {other.n_atoms} (or cell or positions "
            f"differ by more than {_SAME_PLACE:g} Å)."
        )
    here, there = ({} if calc.beside is None else calc.beside.fields() for calc in (first, second))
    names, others = ([*first.available, *here], [*second.available, *there])
    shared = [name for name in names if name in others]
    if not shared:
        raise LayoutError(f"{first.source} and {second.source} have no matrix in common.")
    differences = [
        _compare_fields(name, here[name], there[name])
        if name in here
        else compare(first.require(name), second.require(name))
        for name in shared
    ]
    return Comparison(
        tuple(differences),
        tuple(name for name in names if name not in shared),
        tuple(name for name in others if name not in shared),
    )


def _compare_fields(
    name: str, mine: tuple[str, NDArray[Any]], other: tuple[str, NDArray[Any]]
) -> Difference:
    """Compare numbers that belong to no pairs of atoms."""
    (unit, values), (_, others) = mine, other
    if values.shape != others.shape:
        shapes = f"{values.shape} in the first, {others.shape} in the second"
        return Difference(name, unit, float("nan"), float("nan"), shapes, True, ())
    apart = np.abs(np.subtract(values, others, dtype=np.result_type(values, others, np.float64)))
    mean = float(apart.mean()) if apart.size else 0.0
    return Difference(name, unit, float(apart.max(initial=0.0)), mean, "same shape", True, ())
