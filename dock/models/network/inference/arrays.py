"""Padded arrays of graphs for compiled programs, which know few shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from dock.models.data.batches import Batch, join_graphs, padded
from dock.models.graph import Graph, GraphPart

__all__ = ["joined_arrays", "part_arrays", "rounded_up"]

_STEPS = 8  # sizes between two powers of two: at most an eighth of the work is padding


def rounded_up(count: int, least: int = 16) -> int:
    """Return the next larger of few sizes.

    Examples
    --------
    >>> rounded_up(3), rounded_up(100), rounded_up(1000), rounded_up(1025)
    (16, 104, 1024, 1152)
    """
    size = max(count, least)
    unit = max(1, (1 << (size - 1).bit_length()) // (2 * _STEPS))
    return -(-size // unit) * unit


def joined_arrays(graphs: Sequence[Graph], dtype: DTypeLike) -> Batch:
    """Return the arrays that `dock.models.network.model.apply` takes, of graphs side by side."""
    n_atoms = rounded_up(sum(graph.n_atoms for graph in graphs) + 1, 4)
    n_edges = rounded_up(sum(graph.n_edges for graph in graphs))
    return join_graphs(graphs, (n_atoms, n_edges), dtype)


def part_arrays(
    graph: Graph, part: GraphPart, sizes: tuple[int, int], rows: int, dtype: DTypeLike
) -> Batch:
    """Return the arrays of some atoms and their edges, for one step of a large structure.

    `sizes` are the padded numbers of atoms and edges of a part, `rows` that of the atoms of the
    structure; the last of these is no atom.

    Returns
    -------
    dict
        ``atoms`` (the part's atoms), ``species``, ``local`` (receiver within the part),
        ``receiver``, ``sender`` (of all atoms), ``edge_type``, ``vector``, ``edge_mask``.
    """
    n_atoms, n_edges = sizes
    vector = padded([part.vectors], n_edges, 0, dtype)
    vector[part.n_edges :, 2] = 1.0
    atoms = np.arange(part.atoms.start, part.atoms.stop)
    return {
        "atoms": padded([atoms], n_atoms, rows - 1, np.int32),
        "species": padded([part.species], n_atoms, 0, np.int32),
        "local": padded([part.receiver], n_edges, n_atoms - 1, np.int32),
        "receiver": padded([part.receiver + part.atoms.start], n_edges, rows - 1, np.int32),
        "sender": padded([graph.sender[part.edges]], n_edges, rows - 1, np.int32),
        "edge_type": padded([part.edge_type], n_edges, 0, np.int32),
        "vector": vector,
        "edge_mask": padded([np.ones(part.n_edges)], n_edges, 0, dtype),
    }
