"""Closed forms judged on structures that they were not fitted to, against each other and nothing.

A closed form that a network corrects can make its predictions worse than no closed form: what it
is wrong by on other structures is what the network has to mend. So it is taken only where it helps
there, and its errors are said and kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from dock.core.arrays import FloatArray
from dock.core.quantity import quantity_of
from dock.models.closed_form.family import fit_closed_form
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.three_centre import ThreeCentre
from dock.models.closed_form.two_centre import TwoCentre
from dock.models.data.copies import folds_of
from dock.models.data.samples import Item
from dock.models.graph import Graph
from dock.models.statistics import Statistics
from dock.models.targets import TargetLayout

__all__ = ["AUTO", "NOTHING", "Judgement", "choose_closed_form", "mean_absolute_error"]

AUTO, NOTHING, INITIAL = "auto", "none", "initial"
_SIMPLE_FIRST = (NOTHING, TwoCentre.kind, ThreeCentre.kind)
_UNJUDGED = ThreeCentre.kind  # it finds by itself what a few structures can say
_AS_GOOD = 1.05  # of the least error: the simplest of such forms is taken
_FOLDS = 3
_FEWEST = 3  # structures, below which nothing can be held out

_log = logging.getLogger("dock")
Items: TypeAlias = Callable[[Sequence[str]], Iterable[Item]]


@dataclass(frozen=True)
class Judgement:
    """Which closed form is taken, and what each that was tried is wrong by on other structures.

    Attributes
    ----------
    kind
        Of the form that is taken, ``none`` for no form.
    errors
        Mean absolute error over all entries by kind, in the unit of the target; ``none`` are the
        mean on-site blocks of each species, ``initial`` is the known operator alone that the
        targets are less of.
    judged_on
        Which structures these are, in words; empty where there were none to hold out.
    """

    kind: str
    errors: Mapping[str, float] = field(default_factory=dict)
    judged_on: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for a model file."""
        return {"kind": self.kind, "errors": dict(self.errors), "judged_on": self.judged_on}

    @classmethod
    def of(cls, data: Mapping[str, Any] | None, form: ClosedForm | None) -> Judgement:
        """Make a judgement from what `to_dict` returned, or of a form that nobody judged."""
        if data is None:
            return cls(NOTHING if form is None else form.kind)
        return cls(str(data["kind"]), dict(data["errors"]), str(data["judged_on"]))


class _Predictor(Protocol):
    """What predicts blocks: a closed form, or the mean blocks."""

    @property
    def layout(self) -> TargetLayout:
        """The targets."""

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of atoms and edges."""


@dataclass(frozen=True, eq=False)
class _MeanBlocks:
    """What a network without a closed form starts from: the scalars of each species' own block."""

    layout: TargetLayout
    blocks: FloatArray

    @classmethod
    def of(cls, items: Iterable[Item], layout: TargetLayout) -> _MeanBlocks:
        return cls(layout, layout.uncouple(Statistics.of(items, layout).node_shift))

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        return self.blocks[graph.species], np.zeros((graph.n_edges, *self.blocks.shape[1:]))


@dataclass(frozen=True, eq=False)
class _Zeros:
    """The known operator that the targets are less of, by itself."""

    layout: TargetLayout

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        shape = (self.layout.n_channels, self.layout.n_common, self.layout.n_common)
        return np.zeros((graph.n_atoms, *shape)), np.zeros((graph.n_edges, *shape))


def mean_absolute_error(form: _Predictor, items: Iterable[Item]) -> float | None:
    """Return the error over all entries of structures, in the unit of the target.

    None without structures.
    """
    layout = form.layout
    total = count = 0.0
    for item in items:
        node, edge = form.predict(item.graph)
        masks = (layout.node_mask[item.graph.species], layout.edge_mask[item.graph.edge_type])
        total += float(np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum())
        count += sum(float(mask.sum()) for mask in masks) * layout.n_channels
    return total / count if count else None


def choose_closed_form(
    wanted: str,
    items: Items,
    names: tuple[Sequence[str], Sequence[str]],
    layout: TargetLayout,
    cutoffs: FloatArray,
) -> tuple[ClosedForm | None, Judgement]:
    """Fit what a network is to correct, and judge it on structures that it was not fitted to.

    Parameters
    ----------
    wanted
        One of `dock.models.closed_form.KINDS`, ``none``, or ``auto``: what does best on other
        structures. Of those within 5 % of the best the simplest is taken: nothing, then two
        centres, then three.
    items
        Returns the structures of some names, one after another.
    names
        Those to fit to, and those for validation. Where there are none of the latter, a third of
        the former at a time is held out, copies of one crystal together.
    cutoffs
        As for `fit_closed_form`.

    Returns
    -------
    form
        Fitted to all of the former; None for no form.
    judgement
        The errors, which are logged too.
    """
    train, validate = names
    if wanted == NOTHING:
        return None, Judgement(NOTHING)
    kinds = _SIMPLE_FIRST if wanted == AUTO else (NOTHING, wanted)
    fits = _Fits(items, tuple(train), layout, cutoffs)
    if validate:
        errors = {kind: fits.error(kind, validate) for kind in kinds}
        judged_on = f"{len(validate)} structures for validation"
    elif len(train) >= _FEWEST:
        errors = _errors_by_folds(fits, kinds)
        judged_on = f"{len(train)} structures for training, a third of them held out at a time"
    else:
        errors, judged_on = {}, ""
    kind = _simplest(errors) if wanted == AUTO and errors else wanted
    kind = _UNJUDGED if kind == AUTO else kind
    if errors and layout.less:
        known = mean_absolute_error(_Zeros(layout), items(validate or train))
        errors = {INITIAL: known or 0.0} | errors
    found = Judgement(kind, errors, judged_on)
    _say(found, wanted, layout)
    return (None if kind == NOTHING else fits.form(kind)), found


class _Fits:
    """The closed forms of some structures, each fitted once, when it is asked for."""

    def __init__(
        self, items: Items, names: Sequence[str], layout: TargetLayout, cutoffs: FloatArray
    ) -> None:
        self.items, self.names, self.layout, self.cutoffs = items, names, layout, cutoffs
        self._known: dict[str, ClosedForm] = {}

    def form(self, kind: str) -> ClosedForm:
        """Return a closed form."""
        if kind not in self._known:
            self._known[kind] = fit_closed_form(
                kind, lambda: self.items(self.names), self.layout, self.cutoffs
            )
        return self._known[kind]

    def error(self, kind: str, names: Sequence[str]) -> float:
        """Return the error of other structures."""
        if kind == NOTHING:
            form: _Predictor = _MeanBlocks.of(self.items(self.names), self.layout)
        else:
            form = self.form(kind)
        return mean_absolute_error(form, self.items(names)) or 0.0


def _errors_by_folds(fits: _Fits, kinds: Iterable[str]) -> dict[str, float]:
    """Return the error of each kind, each fold predicted by a fit to the others."""
    names = fits.names
    contents = [_atoms(fits.items([name])) for name in names]
    folds = folds_of(contents, _FOLDS)
    totals = dict.fromkeys(kinds, 0.0)
    for number in range(_FOLDS):
        both = list(zip(names, folds, strict=True))
        held = [name for name, fold in both if fold == number]
        kept = [name for name, fold in both if fold != number]
        if not held or not kept:
            continue
        others = _Fits(fits.items, kept, fits.layout, fits.cutoffs)
        for kind in kinds:
            totals[kind] += others.error(kind, held) * len(held) / len(names)
    return totals


def _atoms(items: Iterable[Item]) -> tuple[str, ...]:
    """Return the atoms of one structure, of which there may be several spin channels."""
    return tuple(sorted(next(iter(items)).graph.structure.labels))


def _simplest(errors: Mapping[str, float]) -> str:
    """Return the simplest kind that is about as good as the best."""
    least = min(errors[kind] for kind in _SIMPLE_FIRST)
    return next(kind for kind in _SIMPLE_FIRST if errors[kind] <= _AS_GOOD * least)


def _say(found: Judgement, wanted: str, layout: TargetLayout) -> None:
    """Log the errors of all that was tried, and warn of a form that does harm."""
    if not found.errors:
        _log.info(
            "baseline: too few structures to hold any out, so %s is taken unjudged", found.kind
        )
        return
    unit = quantity_of(layout.quantity).unit
    scale, unit = (1e3, "meV") if unit == "eV" else (1.0, unit)
    errors = ", ".join(f"{kind} {scale * error:.4g}" for kind, error in found.errors.items())
    _log.info(
        "baseline: %s is taken; errors in %s of %s: %s", found.kind, unit, found.judged_on, errors
    )
    if wanted != AUTO and found.errors[wanted] > found.errors[NOTHING]:
        _log.warning(
            "baseline = \"%s\" does harm: on %s it is wrong by %.4g %s, nothing by %.4g. A network "
            'learns better without it: write baseline = "auto", or leave the key out.',
            wanted, found.judged_on, scale * found.errors[wanted], unit,
            scale * found.errors[NOTHING],
        )  # fmt: skip
