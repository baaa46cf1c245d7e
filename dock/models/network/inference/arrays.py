"""Padded arrays of graphs for compiled programs, which know few shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.models.graph import Graph, GraphPart

__all__ = ["Arrays", "joined_arrays", "part_arrays", "rounded_up"]

Arrays = dict[str, NDArray[Any]]
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


def _padded(parts: Sequence[NDArray[Any]], size: int, fill: float, kind: DTypeLike) -> NDArray[Any]:
    """Return arrays one behind another, and the fill value after them."""
    joined = np.concatenate(parts)
    result = np.full((size, *joined.shape[1:]), fill, dtype=kind)
    result[: len(joined)] = joined
    return result


def joined_arrays(graphs: Sequence[Graph], dtype: DTypeLike) -> Arrays:
    """Return the arrays that `dock.models.network.model.apply` takes, of graphs side by side."""
    atoms = np.cumsum([0] + [graph.n_atoms for graph in graphs])
    edges = np.cumsum([0] + [graph.n_edges for graph in graphs])
    n_atoms, n_edges = rounded_up(int(atoms[-1]) + 1, 4), rounded_up(int(edges[-1]))
    pairs = list(zip(graphs, atoms, edges, strict=False))
    vectors = _padded([graph.vectors for graph in graphs], n_edges, 0.0, dtype)
    vectors[edges[-1] :, 2] = 1.0
    reverse = np.arange(n_edges, dtype=np.int32)
    reverse[: edges[-1]] = np.concatenate([graph.reverse + e for graph, _, e in pairs])
    ones = np.ones(int(edges[-1]))
    arrays: Arrays = {
        "species": _padded([graph.species for graph in graphs], n_atoms, 0, np.int32),
        "receiver": _padded([g.receiver + a for g, a, _ in pairs], n_edges, n_atoms - 1, np.int32),
        "sender": _padded([g.sender + a for g, a, _ in pairs], n_edges, n_atoms - 1, np.int32),
        "reverse": reverse,
        "edge_type": _padded([graph.edge_type for graph in graphs], n_edges, 0, np.int32),
        "vector": vectors,
        "edge_mask": _padded([ones], n_edges, 0, dtype),
    }
    moments = [graph.moments for graph in graphs if graph.moments is not None]
    if len(moments) == len(graphs):
        arrays["moments"] = _padded(moments, n_atoms, 0.0, dtype)
    return arrays


def part_arrays(
    graph: Graph, part: GraphPart, sizes: tuple[int, int], rows: int, dtype: DTypeLike
) -> Arrays:
    """Return the arrays of some atoms and their edges, for one step of a large structure.

    Parameters
    ----------
    graph, part
        The structure, and the part of it.
    sizes
        Padded numbers of atoms and edges of a part.
    rows
        Padded number of atoms of the structure; the last one is no atom.
    dtype
        Of the vectors.

    Returns
    -------
    dict
        ``atoms`` (the part's atoms), ``species``, ``local`` (receiver within the part),
        ``receiver``, ``sender`` (of all atoms), ``edge_type``, ``vector``, ``edge_mask``.
    """
    n_atoms, n_edges = sizes
    vector = _padded([part.vectors], n_edges, 0.0, dtype)
    vector[part.n_edges :, 2] = 1.0
    atoms = np.arange(part.atoms.start, part.atoms.stop)
    return {
        "atoms": _padded([atoms], n_atoms, rows - 1, np.int32),
        "species": _padded([part.species], n_atoms, 0, np.int32),
        "local": _padded([part.receiver], n_edges, n_atoms - 1, np.int32),
        "receiver": _padded([part.receiver + part.atoms.start], n_edges, rows - 1, np.int32),
        "sender": _padded([graph.sender[part.edges]], n_edges, rows - 1, np.int32),
        "edge_type": _padded([part.edge_type], n_edges, 0, np.int32),
        "vector": vector,
        "edge_mask": _padded([np.ones(part.n_edges)], n_edges, 0, dtype),
    }
