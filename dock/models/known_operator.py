"""The operator that a model's predictions are added to: H of superposed free atoms, of one maker.

Two programs mean different matrices by it: the functional, the pseudopotentials and the reference
of energies are theirs. A model that learned what H is beyond the one is wrong by electronvolts on
the other, and nothing in the matrices shows it. So the model keeps who made those of its data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dock.converters.deeph.folder import FILES, MADE_BY, Head
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import MissingDataError, UsageError
from dock.models.backend import Scope
from dock.overlap_folder import FREE_ATOMS, INITIAL

__all__ = ["basis_to_compute", "makers", "stored_operator"]

_LOG = logging.getLogger(__name__)
_UNKNOWN = "an unknown program"


def makers(calculations: Iterable[Calculation], name: str) -> list[str]:
    """Return who made an operator of calculations, each once: a program without its version."""
    return sorted({_maker(calc, name) for calc in calculations})


def _maker(calc: Calculation, name: str) -> str:
    known = calc.provenance.extra.get(MADE_BY)
    words = str(known.get(name, "")) if isinstance(known, dict) else ""
    if words.startswith(FREE_ATOMS):
        return FREE_ATOMS
    return words.split()[0] if words else _UNKNOWN


def stored_operator(scope: Scope, head: Head) -> AOMatrix | None:
    """Return the known operator of a folder as the model takes it; None where it has none.

    A warning where another program made it than that of the training data.

    Raises
    ------
    UsageError
        When it has a spin that the model has not.
    """
    layout, calc = scope.layout, head.calculation()
    if layout.less not in calc.available:
        return None
    maker = _maker(calc, layout.less)
    if scope.known_by and maker not in scope.known_by:
        _LOG.warning(
            "%s: made by %s, that of the training data by %s: the prediction is wrong where the "
            "two differ",
            head.folder / FILES[layout.less], maker, ", ".join(scope.known_by),
        )  # fmt: skip
    found = calc.require(layout.less)
    if found.spin is Spin.NONE and layout.spin is Spin.COLLINEAR:
        return replace(found, spin=layout.spin, entries=np.repeat(found.entries, 2, axis=0))
    if found.spin is not layout.spin:
        raise UsageError(
            f"{head.folder / FILES[layout.less]}: it has spin '{found.spin.value}', the model "
            f"'{layout.spin.value}'. Compute it with the model's spin, or predict from the "
            "structure and its basis files, basis=DIR."
        )
    return found


def basis_to_compute(scope: Scope, head: Head, basis: str | Path | None) -> Path:
    """Return the basis files, where the operator that is computed of them is that of training.

    Raises
    ------
    MissingDataError
        When it is one that is not computed, or there is no basis.
    UsageError
        When another program made that of the training data.
    """
    layout = scope.layout
    file = FILES[layout.less]
    if layout.less != INITIAL:
        raise MissingDataError(
            file,
            head.folder,
            "The model predicts what H is beyond it: take it from the program that made those of "
            "the training data.",
        )
    if basis is None:
        raise MissingDataError(
            file,
            head.folder,
            f"The model predicts what the {layout.quantity} is beyond that of superposed free "
            "atoms: compute it with dock compute-overlap --quantities H0, or pass basis=DIR.",
        )
    others = [maker for maker in scope.known_by if maker != FREE_ATOMS]
    if others:
        raise UsageError(
            f"{head.folder}: {file} is missing, and the model learned beyond one that "
            f"{', '.join(others)} made: what would be computed from basis files is another "
            f"matrix. Put {file} of that program beside the structure."
        )
    return Path(basis)
