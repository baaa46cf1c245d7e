"""The samples of a data set: where they are, and their labels on a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dock.converters import read
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.folder import FILES
from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.gauge import hamiltonian_shift
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError
from dock.models.data.moments import moments_of
from dock.models.graph import Graph, build_graph
from dock.models.integrals import add_overlap
from dock.models.targets import TargetLayout

__all__ = ["HEADS", "Item", "Sample", "find_samples", "label", "load_item"]

HEADS = ("POSCAR", "info.json")
"""Files that a unified folder has beside its matrices."""


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
    per_spin
        Whether it is learned channel by channel, see `channels`.
    """

    graph: Graph
    node: FloatArray
    edge: FloatArray
    overlap: tuple[FloatArray, FloatArray] | None = None
    per_spin: bool = False

    @property
    def channels(self) -> tuple[Item, ...]:
        """What it is learned as: one item for each spin, see `Graph.of_spins`, or itself."""
        if not self.per_spin:
            return (self,)
        return tuple(
            Item(graph, self.node[:, n : n + 1], self.edge[:, n : n + 1], self.overlap)
            for n, graph in enumerate(self.graph.of_spins)
        )


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
            lacking = next(head for head in HEADS if not (file.parent / head).is_file())
            raise MissingDataError(
                lacking,
                file.parent,
                f"Beside {file.name} a unified folder has {' and '.join(HEADS)}: convert the run "
                "again, or take the folder out of the set.",
            )
    return [Sample(name, root / name) for name in names]


def load_item(
    sample: Sample, layout: TargetLayout, *, with_moments: bool = False, with_overlap: bool = False
) -> Item:
    """Read one structure and its labels; see `label`."""
    calc = read(sample.folder, format="deeph")
    return label(calc, sample, layout, with_moments=with_moments, with_overlap=with_overlap)


def label(
    calc: Calculation,
    sample: Sample,
    layout: TargetLayout,
    *,
    with_moments: bool = False,
    with_overlap: bool = False,
) -> Item:
    """Return what a network sees of a calculation, whose matrices are read now.

    `with_moments` gives the graph the spin moments, which a layout of channels one by one needs.
    `with_overlap` keeps the overlap, for a loss that is blind to multiples of S; the labels are
    then given the gauge ⟨H, S⟩ = 0, so that no constant of a run gets into closed form and
    statistics.

    Raises
    ------
    DockError
        When something is missing or does not fit the layout, naming the folder.
    """
    matrix = calc.require(layout.quantity)
    try:
        layout.require_basis(calc.basis)
        if layout.less:
            matrix = matrix - replace(calc.require(layout.less), quantity=matrix.quantity)
        pairs = matrix.pairs
        if calc.overlap is not None:
            pairs = pairs.union(calc.overlap.pairs)
        moments = moments_of(sample.folder, calc) if with_moments else None
        graph = build_graph(calc.structure, calc.basis, pairs, layout.species, moments)
        if layout.n_species > 1 and calc.overlap is not None:  # for pairs that never occur
            graph = add_overlap(graph, calc.overlap, layout)
        matrix, extra = matrix.hermitian_part(), None
        if with_overlap:
            S = calc.require("overlap")
            matrix = matrix - hamiltonian_shift(matrix, None, S) * S
            plain = TargetLayout(layout.species, layout.ls, Spin.NONE, "overlap")
            onsite, offsite = plain.labels(S, graph)
            extra = (onsite[:, 0], offsite[:, 0])
        node, edge = layout.labels(matrix, graph)
        item = Item(graph, node, edge, extra, layout.is_split)
        layout.graphs(graph)  # moments that do not fit are said now
    except LayoutError as error:
        raise LayoutError(f"{sample.folder}: {error}") from error
    return item
