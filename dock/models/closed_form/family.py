"""The closed forms by kind: fitted to structures, or read from a model file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.three_centre import ThreeCentre, fit_three_centre
from dock.models.closed_form.two_centre import TwoCentre, fit_two_centre
from dock.models.data.samples import Item
from dock.models.modelfile import ModelFile
from dock.models.targets import TargetLayout

__all__ = ["KINDS", "closed_form_of", "fit_closed_form", "read_closed_form"]

KINDS = (ThreeCentre.kind, TwoCentre.kind)


def fit_closed_form(
    kind: str, items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ClosedForm:
    """Fit a closed form; see `fit_two_centre` and `fit_three_centre`.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    if kind == ThreeCentre.kind:
        return fit_three_centre(items, layout, cutoffs)
    if kind == TwoCentre.kind:
        return fit_two_centre(items, layout, cutoffs)
    raise _unknown(kind)


def read_closed_form(kind: str, layout: TargetLayout, arrays: Mapping[str, Any]) -> ClosedForm:
    """Make a closed form from the arrays of a file.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    if kind == ThreeCentre.kind:
        return ThreeCentre.from_arrays(layout, arrays)
    if kind == TwoCentre.kind:
        return TwoCentre.from_arrays(layout, arrays)
    raise _unknown(kind)


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
    return file.decoded(lambda: read_closed_form(stored.facts, file.layout, stored.arrays))


def _unknown(kind: str) -> UsageError:
    return UsageError(f"there is no closed-form model '{kind}'; there are {', '.join(KINDS)}.")
