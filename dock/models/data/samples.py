"""The samples of a data set: reading them, and the checks before a GPU hour is spent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dock.converters import read
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.folder import FILES
from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, LayoutError, MissingDataError, UsageError
from dock.models.graph import Graph, build_graph
from dock.models.targets import TargetLayout

__all__ = [
    "DatasetReport",
    "Item",
    "Sample",
    "find_samples",
    "inspect_samples",
    "load_item",
    "moments_of",
    "spin_moments",
]

MOMENTS_FILE = "moments.json"
_HERMITIAN = 1e-3  # eV; beyond this an SCF run is not converged or a file is damaged
_HEADS = ("POSCAR", "info.json")
_OUTLIER = 12.0  # times the spread of the other structures


class Sample(NamedTuple):
    """One structure of a data set."""

    name: str
    folder: Path


class Item(NamedTuple):
    """What a network sees of one structure.

    Attributes
    ----------
    graph
        Atoms and edges, the union of the patterns of the target and the overlap.
    node, edge
        Padded labels (n, n_channels, n_common, n_common), float64.
    overlap
        The overlap's blocks in the same padding without channels, or None.
    """

    graph: Graph
    node: FloatArray
    edge: FloatArray
    overlap: tuple[FloatArray, FloatArray] | None = None


def find_samples(folder: str | Path) -> list[Sample]:
    """Return the unified folders below a folder (or its ``dft``), sorted by name.

    Raises
    ------
    MissingDataError
        When there are none, or where matrices lie without their POSCAR or info.json.
    """
    root, names = find_structures(folder)
    known, matrices = set(names), set(FILES.values())
    for file in root.rglob("*.h5"):
        name = str(file.parent.relative_to(root))
        if file.name in matrices and name not in known:
            lacking = next(one for one in _HEADS if not (file.parent / one).is_file())
            raise MissingDataError(
                lacking,
                file.parent,
                f"Beside {file.name} a unified folder has {' and '.join(_HEADS)}: convert the run "
                "again, or take the folder out of the set.",
            )
    return [Sample(name, root / name) for name in names]


def spin_moments(density: AOMatrix, overlap: AOMatrix) -> FloatArray:
    """Return Mulliken spin moments (n_atoms, 3) in μ_B; zeros without spin.

    m = Σ_j of P_ij S_ij over the orbitals i of each atom: m_z from up minus down, m_x and m_y from
    the spin-off-diagonal part.
    """
    density, overlap = density.aligned(overlap)
    n_atoms = density.structure.n_atoms
    moments = np.zeros((n_atoms, 3))
    if density.spin is Spin.NONE:
        return moments
    product = density.entries * overlap.entries[0]
    sums = np.add.reduceat(product, density.layout.starts[:-1], axis=1)
    by_atom = np.zeros((len(sums), n_atoms), dtype=sums.dtype)
    for component, row in enumerate(sums):
        np.add.at(by_atom[component], density.pairs.i, row)
    if density.spin is Spin.COLLINEAR:
        moments[:, 2] = by_atom[0] - by_atom[1]
        return moments
    moments[:, 0] = 2 * by_atom[1].real
    moments[:, 1] = -2 * by_atom[1].imag
    moments[:, 2] = (by_atom[0] - by_atom[3]).real
    return moments


def moments_of(folder: Path, calc: Calculation) -> FloatArray:
    """Return the spin moments that a model takes as input.

    Read from ``moments.json`` (a list of three numbers in μ_B per atom) beside the matrices, else
    computed from the density matrix (Mulliken).

    Raises
    ------
    FormatError
        When the file does not hold three numbers for each atom.
    MissingDataError
        When there is neither.
    """
    path = Path(folder) / MOMENTS_FILE
    n_atoms = calc.structure.n_atoms
    if path.is_file():
        try:
            found = np.asarray(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            found, problem = np.zeros(0), str(error)
        else:
            problem = f"an array of shape {found.shape}"
        if found.shape != (n_atoms, 3) or not np.isfinite(found).all():
            raise FormatError(
                path,
                "no spin moments",
                expected=f"a list of {n_atoms} lists of three finite numbers (μ_B)",
                found=problem,
                fix="Write one [mx, my, mz] for each atom in the order of POSCAR.",
            )
        return found
    fix = f"Write the moments into {MOMENTS_FILE}, or give density_matrix.h5."
    return spin_moments(calc.require("density_matrix", fix), calc.require("overlap", fix))


def load_item(
    sample: Sample,
    layout: TargetLayout,
    *,
    with_moments: bool = False,
    with_overlap: bool = False,
) -> Item:
    """Read one structure and its labels.

    Parameters
    ----------
    sample
        Name and folder.
    layout
        The targets.
    with_moments
        Give the graph the spin moments.
    with_overlap
        Keep the overlap, for a loss that is blind to multiples of S; the labels are then given
        the gauge ⟨H, S⟩ = 0, so that no constant of a run gets into baseline and statistics.

    Raises
    ------
    DockError
        When something is missing or does not fit the layout, naming the folder.
    """
    calc = read(sample.folder, format="deeph")
    matrix = calc.require(layout.quantity)
    try:
        layout.require_basis(calc.basis)
        pairs = matrix.pairs
        overlap = calc.overlap
        if overlap is not None:
            pairs = pairs.union(overlap.pairs)
        moments = moments_of(sample.folder, calc) if with_moments else None
        graph = build_graph(calc.structure, calc.basis, pairs, layout.species, moments)
        node, edge = layout.labels(matrix.hermitian_part(), graph)
        extra = None
        if with_overlap:
            plain = TargetLayout(layout.species, layout.ls, Spin.NONE, "overlap")
            extra = plain.labels(calc.require("overlap"), graph)
            extra = (extra[0][:, 0], extra[1][:, 0])
            node, edge = _standardized(layout, (node, edge), extra)
    except LayoutError as error:
        raise LayoutError(f"{sample.folder}: {error}") from error
    return Item(graph, node, edge, extra)


def _standardized(
    layout: TargetLayout, labels: tuple[FloatArray, FloatArray], overlap: Any
) -> tuple[FloatArray, FloatArray]:
    """Return labels less the multiple of S that takes most of them away."""
    spins = layout.n_channels if layout.n_channels <= 2 else 1
    parts = [part.copy() for part in labels]
    top = sum(
        float((part[:, :spins] * S[:, None]).sum()) for part, S in zip(parts, overlap, strict=True)
    )
    mu = top / max(spins * sum(float((S * S).sum()) for S in overlap), 1e-300)
    for part, S in zip(parts, overlap, strict=True):
        part[:, :spins] -= mu * S[:, None]
    return parts[0], parts[1]


@dataclass
class DatasetReport:
    """What the checks found.

    Attributes
    ----------
    errors, warnings
        Sentences, each beginning with the name of a structure.
    spin
        Spin treatment of the set.
    bases
        Calculations' bases, one for each structure, for `TargetLayout.from_bases`.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spin: Spin | None = None
    bases: list[Any] = field(default_factory=list)

    def require_good(self) -> None:
        """Refuse a set with errors, listing the first of them.

        Raises
        ------
        UsageError
            Always when there are errors.
        """
        if self.errors:
            shown = "\n  ".join(self.errors[:5])
            more = f"\n  … and {len(self.errors) - 5} more" if len(self.errors) > 5 else ""
            raise UsageError(
                f"the data set has faults in {len(self.errors)} of its structures:\n  "
                f"{shown}{more}\nMend or remove these structures; nothing was trained."
            )


def inspect_samples(
    samples: Sequence[Sample],
    quantity: str,
    *,
    deep: bool = True,
    needs_overlap: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Check that structures belong together, and read every matrix once.

    Errors: unreadable or incomplete folders, another spin treatment or another basis of a
    species than in the first structure, entries that are not finite. Warnings: blocks that are
    far from Hermitian, on-site blocks far from those of the same species elsewhere in the set
    (an unconverged run shows like this), and structures without an overlap.

    Parameters
    ----------
    samples
        The structures.
    quantity
        What is learned.
    deep
        Read the matrices; else only what says their spin and basis.
    needs_overlap
        A structure without an overlap is an error.
    progress
        Called with the structures done and their number.
    """
    report = DatasetReport()
    shells: dict[str, tuple[int, ...]] = {}
    diagonals: dict[str, list[tuple[str, FloatArray]]] = {}
    alone: list[str] = []
    for number, sample in enumerate(samples, 1):
        try:
            calc = read(sample.folder, format="deeph")
            problem = _misfit(report, shells, sample, calc, quantity)
            lacks_overlap = not (sample.folder / FILES["overlap"]).is_file()
            if lacks_overlap and needs_overlap and not problem:
                problem = f"{FILES['overlap']} is missing, which standardize_gauge needs."
            if deep and not problem:
                _count(report, sample, calc.require(quantity), diagonals)
        except DockError as error:
            problem = str(error)
        else:
            calc.release()
            if lacks_overlap:
                alone.append(sample.name)
        if problem:
            report.errors.append(f"{sample.name}: {problem}")
        if progress is not None:
            progress(number, len(samples))
    report.warnings += _outliers(diagonals)
    if alone and not needs_overlap:
        some = ", ".join(alone[:3]) + (", …" if len(alone) > 3 else "")
        report.warnings.append(
            f"{some}: no overlap.h5 in {len(alone)} structures; their edges are where the "
            f"{quantity} has blocks, while predictions are made where S has."
        )
    return report


def _misfit(
    report: DatasetReport,
    shells: dict[str, tuple[int, ...]],
    sample: Sample,
    calc: Calculation,
    quantity: str,
) -> str:
    """Say why a structure cannot be in the set; empty where it can."""
    name = quantity_of(quantity).name
    file = sample.folder / FILES.get(name, f"{name}.h5")
    if not file.is_file():  # a prediction beside it is nothing to learn from
        have = ", ".join(calc.available) or "none"
        return f"{file.name} is missing. Matrices found: {have}."
    if report.spin is None:
        report.spin = calc.spin
    if calc.spin is not report.spin:
        return (
            f"spin is '{calc.spin.value}', but '{report.spin.value}' in the structures before; "
            "a model has one treatment of spin."
        )
    for label in calc.basis.species:
        ls = calc.basis.ls(label)
        if shells.setdefault(label, ls) != ls:
            return f"{label} has shells {ls}, but {shells[label]} in the structures before."
    report.bases.append(calc.basis)
    return ""


def _count(
    report: DatasetReport,
    sample: Sample,
    matrix: AOMatrix,
    diagonals: dict[str, list[tuple[str, FloatArray]]],
) -> None:
    """Note what the entries of one structure say about its run."""
    error = matrix.hermiticity_error()
    if quantity_of(matrix.quantity).unit == "eV" and error > _HERMITIAN:
        report.warnings.append(
            f"{sample.name}: the {matrix.quantity} deviates from Hermitian by {error:.2g} eV."
        )
    for index in matrix.pairs.onsite.tolist():
        atom = int(matrix.pairs.i[index])
        begin, end = matrix.layout.starts[index : index + 2]
        size = int(matrix.layout.rows[index])
        diagonal = matrix.entries[0, begin:end].reshape(size, size).diagonal().real
        label = matrix.basis.labels[atom]
        diagonals.setdefault(label, []).append((sample.name, np.array(diagonal)))


def _outliers(diagonals: dict[str, list[tuple[str, FloatArray]]]) -> list[str]:
    """Return sentences about structures whose on-site energies stand apart."""
    found: dict[str, str] = {}
    for label, rows in diagonals.items():
        if len(rows) < 8:
            continue
        values = np.stack([row for _, row in rows])
        centre = np.median(values, axis=0)
        spread = 1.4826 * np.median(np.abs(values - centre), axis=0) + 1e-6
        deviation = np.abs(values - centre) / spread
        worst = deviation.max(axis=1)
        for index in np.flatnonzero(worst > _OUTLIER).tolist():
            name = rows[index][0]
            shift = values[index] - centre
            largest = float(shift[np.argmax(np.abs(shift))])
            found.setdefault(
                name,
                f"{name}: an on-site energy of {label} is {largest:+.2f} eV from the median of the "
                f"set ({worst[index]:.0f} times the spread): is this run converged?",
            )
    return list(found.values())
