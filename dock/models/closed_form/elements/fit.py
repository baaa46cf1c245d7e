"""Parameters of elements by linear least squares, judged on kinds of pairs that were left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import numpy as np

from dock.core.arrays import FloatArray
from dock.core.quantity import quantity_of
from dock.models.closed_form.elements.bonds import Bonds
from dock.models.closed_form.elements.model import ElementForm
from dock.models.closed_form.elements.sites import Sites
from dock.models.closed_form.radial import RadialEquations, RadialSpan, find_spans, splines
from dock.models.data.samples import Item
from dock.models.graph import Graph, by_kind
from dock.models.integrals import integrals_of, overlap_of
from dock.models.targets import TargetLayout

__all__ = ["fit_elements"]

_log = logging.getLogger("dock")

_NAMED = 6  # kinds of pairs in a message


def fit_elements(
    items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ElementForm | None:
    """Fit parameters of elements; None where they are not needed, not possible, or no good.

    They are needed where some kinds of pairs do not occur, possible where all structures have
    an overlap, and good where kinds that are left out are predicted better than by zeros. The
    parameters are those of `fit_closed_form`.
    """
    names = _unseen(items(), layout)
    if not names or layout.quantity == "overlap":
        return None
    if any(item.graph.overlap is None for item in items()):
        _say(names, "not all structures have an overlap: nothing is predicted of them")
        return None
    spans = find_spans(items(), layout, cutoffs)
    bonds, sites = Bonds(layout), Sites(layout)
    functions = [RadialEquations([span], 0, integrals_of(layout).size) for span in spans]
    for item in items():
        bonds.add(item)
        sites.add(item)
        _add_overlap(functions, item.graph, spans)
    penalty, error, size = bonds.judged()
    if error >= size:
        _say(names, "parameters of their elements do no better than nothing, which they get")
        return None
    _say(names, "predicted from parameters of their elements and the overlap")
    if not np.isnan(size):
        _log.info(
            "closed form: of kinds of pairs that were left out, parameters of elements leave %.3g "
            "of %.3g %s (root mean square of two-centre integrals)",
            error, size, quantity_of(layout.quantity).unit,
        )  # fmt: skip
    return ElementForm(
        layout,
        bonds.factors(bonds.seen, penalty),
        *sites.solve(),
        spans,
        tuple(one.solve() for one in functions),
        {"left_out_error": error, "left_out_size": size},
    )


def _unseen(items: Iterable[Item], layout: TargetLayout) -> list[str]:
    """Return the names of the kinds of pairs that do not occur, each once."""
    n = layout.n_species
    seen = np.zeros(n * n, dtype=bool)
    for item in items:
        seen[item.graph.edge_type] = True
        if seen.all():
            break
    first, second = np.nonzero(np.triu(~seen.reshape(n, n)))
    return [f"{layout.species[a]}-{layout.species[b]}" for a, b in zip(first, second, strict=True)]


def _say(names: list[str], what: str) -> None:
    more = ", …" if len(names) > _NAMED else ""
    _log.info(
        "closed form: %d kinds of pairs do not occur in the training data (%s%s): %s",
        len(names), ", ".join(names[:_NAMED]), more, what,
    )  # fmt: skip


def _add_overlap(
    functions: list[RadialEquations], graph: Graph, spans: tuple[RadialSpan, ...]
) -> None:
    """Add the overlap's integrals of a graph to the equations of its radial functions."""
    for kind, here in by_kind(graph.edge_type):
        table = splines(graph.lengths[here], spans[kind])
        functions[kind].gram += table.T @ table
        functions[kind].side += table.T @ overlap_of(graph)[here]
