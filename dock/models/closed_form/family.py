"""The closed forms by kind: fitted to structures, or read from a model file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.closed_form.elements import Layered, fit_layered
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.three_centre import ThreeCentre, fit_three_centre
from dock.models.closed_form.two_centre import SHRINK, TwoCentre, fit_two_centre
from dock.models.data.samples import Item
from dock.models.modelfile import ON_ELEMENTS, ModelFile
from dock.models.targets import TargetLayout

__all__ = ["KINDS", "closed_form_of", "fit_closed_form", "read_closed_form"]

_Fit: TypeAlias = Callable[[Callable[[], Iterable[Item]], TargetLayout, FloatArray], ClosedForm]
_FORMS: dict[str, tuple[type[ClosedForm], _Fit]] = {
    ThreeCentre.kind: (ThreeCentre, fit_three_centre),
    TwoCentre.kind: (TwoCentre, fit_two_centre),
}
_ON_ELEMENTS: dict[str, _Fit] = {TwoCentre.kind: partial(fit_two_centre, ridge=SHRINK)}
KINDS = tuple(_FORMS)


def fit_closed_form(
    kind: str, items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ClosedForm:
    """Fit a closed form to labels, on top of one of elements where kinds of pairs are lacking.

    Parameters
    ----------
    items
        Returns the structures, one after another; called several times, so that only one of them
        need be in memory. Of collinear magnets they are both channels of each.
    cutoffs
        (n_species²,) where edges end, Å, 0 where nothing was cut off (`find_cutoffs`).

    Raises
    ------
    UsageError
        For a kind that is none of `KINDS`.
    """
    _, fit = _form(kind)
    return fit_layered(fit, _ON_ELEMENTS.get(kind, fit), items, layout, cutoffs)


def read_closed_form(kind: str, layout: TargetLayout, arrays: Mapping[str, Any]) -> ClosedForm:
    """Make a closed form from the arrays of a file.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    own = kind.removesuffix(ON_ELEMENTS)
    form, _ = _form(own)
    if own == kind:
        return form.from_arrays(layout, arrays)
    rest = form.from_arrays(layout, arrays["rest"])
    return Layered.from_arrays(layout, {**arrays, "form": rest})


def closed_form_of(file: ModelFile) -> ClosedForm | None:
    """Return the closed form of a model file, None where it has none.

    Raises
    ------
    FormatError
        When that part is damaged or of an unknown kind.
    """
    stored = file.closed_form
    if stored is None:
        return None
    return file.decoded(lambda: read_closed_form(stored.facts, file.layout.channel, stored.arrays))


def _form(kind: str) -> tuple[type[ClosedForm], _Fit]:
    if kind not in _FORMS:
        raise UsageError(f"there is no closed-form model '{kind}'; there are {', '.join(KINDS)}.")
    return _FORMS[kind]
