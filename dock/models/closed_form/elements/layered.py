"""A closed form above another: elements predict every pair, and a second form what they leave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray
from dock.models.closed_form.elements.fit import fit_elements
from dock.models.closed_form.elements.model import ElementForm
from dock.models.closed_form.form import ClosedForm
from dock.models.data.copies import are_several
from dock.models.data.samples import Item
from dock.models.graph import Graph, GraphPart
from dock.models.modelfile import ON_ELEMENTS, Stored
from dock.models.targets import TargetLayout

__all__ = ["Layered", "fit_layered"]

_log = logging.getLogger("dock")
_PARTS = 3  # of a set of several crystals: none has a larger share of the structures

_Items: TypeAlias = Callable[[], Iterable[Item]]
_Fit: TypeAlias = Callable[[_Items, TargetLayout, FloatArray], ClosedForm]


@dataclass(frozen=True, eq=False)
class Layered(ClosedForm):
    """The sum of a form of elements and of one that was fitted to what that leaves.

    Of pairs that no training structure has, the second says nothing. With `only_unseen` the first
    speaks of those alone, and the second was fitted to the labels as they are.
    """

    layout: TargetLayout
    elements: ElementForm
    rest: ClosedForm
    only_unseen: bool = False

    part_edges: ClassVar[int] = 10_000

    @property
    def kind(self) -> str:
        """The name of the second form."""
        return self.rest.kind

    @property
    def held_out(self) -> tuple[FloatArray, FloatArray] | None:
        """What structures that a fit has not seen were wrong by, see `ClosedForm`."""
        return self.rest.held_out

    @property
    def needs_overlap(self) -> bool:
        """Whether graphs should have the overlap: yes."""
        return True

    def begin(self, graph: Graph) -> Any:
        """Return what `one_way` needs of the whole graph."""
        if graph.overlap is None:
            self._said  # noqa: B018 - once for each form
        return self.rest.begin(graph)

    @cached_property
    def _said(self) -> None:
        """Log what is done without the numbers of the overlap."""
        _log.warning(
            "the numbers of the overlap are not known: they are taken from functions of the "
            "distance, and pairs that the training data have not get zeros"
        )

    def one_way(self, part: GraphPart, around: Any) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges, not averaged with the adjoints."""
        node, edge = self.elements.one_way(part)
        if self.only_unseen:
            node, edge = (
                np.zeros_like(node),
                edge * self._is_unseen[part.edge_type][:, None, None, None],
            )
        onsite, offsite = self.rest.one_way(part, around)
        return node + onsite, edge + offsite

    @cached_property
    def _is_unseen(self) -> NDArray[np.bool_]:
        """Which kinds of pairs no training structure has."""
        return np.array([span.intervals == 0 for span in self.elements.spans])

    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""
        return {
            "elements": self.elements.to_arrays(),
            "rest": self.rest.to_arrays(),
            "only_unseen": np.array(self.only_unseen),
        }

    @classmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> Layered:
        """Make a form from what `to_arrays` returned, and the second form under ``form``."""
        elements = ElementForm.from_arrays(layout, arrays["elements"])
        return cls(layout, elements, arrays["form"], bool(arrays["only_unseen"]))

    def stored(self) -> Stored:
        """Return the form as a part of a model file, under a name that older versions refuse."""
        return Stored(self.kind + ON_ELEMENTS, self.to_arrays())


def fit_layered(
    fit: _Fit, fit_rest: _Fit, items: _Items, layout: TargetLayout, cutoffs: FloatArray
) -> ClosedForm:
    """Fit a form; by `fit_rest` on top of one of elements where kinds of pairs do not occur.

    A set of several crystals gains by that on all pairs. Of a single substance, such as
    water, the form is better fitted to the labels as they are, and elements speak of the pairs
    alone that do not occur.
    """
    elements = fit_elements(items, layout, cutoffs)
    if elements is None:
        return fit(items, layout, cutoffs)
    contents = [tuple(sorted(item.graph.structure.labels)) for item in items()]
    if not are_several(contents, _PARTS):
        return Layered(layout, elements, fit(items, layout, cutoffs), only_unseen=True)

    def left() -> Iterator[Item]:
        for item in items():
            node, edge = elements.predict(item.graph)
            yield item._replace(node=item.node - node, edge=item.edge - edge)

    return Layered(layout, elements, fit_rest(left, layout, cutoffs))
