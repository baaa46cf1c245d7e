"""What a calculation remembers of the run that it came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dock.core.calculation import Calculation

__all__ = ["in_source_order", "number_of"]


def in_source_order(calc: Calculation, code: str) -> Calculation:
    """Undo the grouping by element of a unified folder that was made from a run of `code`."""
    order = calc.provenance.extra.get("source_order")
    if calc.provenance.code != code or not isinstance(order, list):
        return calc
    return calc.permute_atoms([int(atom) for atom in np.argsort(order)])


def number_of(extra: Mapping[str, object], key: str, default: float) -> float:
    """Return a number of `Provenance.extra`, or the default where there is none."""
    value = extra.get(key)
    return float(value) if isinstance(value, int | float) else default
