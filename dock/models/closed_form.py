"""The two closed-form models under one roof: what networks correct, and backends of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.baseline import Baseline, fit_baseline
from dock.models.data.samples import Item
from dock.models.targets import TargetLayout
from dock.models.three_centre import ThreeCentre, fit_three_centre

__all__ = ["KINDS", "ClosedForm", "fit_closed_form", "read_closed_form"]

ClosedForm: TypeAlias = Baseline | ThreeCentre
KINDS = ("three-centre", "two-centre")


def fit_closed_form(
    kind: str, items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ClosedForm:
    """Fit a closed-form model; see `fit_baseline` and `fit_three_centre`.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    if kind == "three-centre":
        return fit_three_centre(items, layout, cutoffs)
    if kind == "two-centre":
        return fit_baseline(items, layout, cutoffs)
    raise UsageError(f"there is no closed-form model '{kind}'; there are {', '.join(KINDS)}.")


def read_closed_form(kind: str, layout: TargetLayout, arrays: Mapping[str, Any]) -> ClosedForm:
    """Make a model from the arrays of a file.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    if kind == "three-centre":
        return ThreeCentre.from_arrays(layout, arrays)
    if kind == "two-centre":
        return Baseline.from_arrays(layout, arrays)
    raise UsageError(f"there is no closed-form model '{kind}'; there are {', '.join(KINDS)}.")
