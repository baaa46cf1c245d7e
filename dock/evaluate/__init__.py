"""How good a Hamiltonian is: errors of predictions, data sets, tests of symmetry.

>>> import dock
>>> from dock.evaluate import EvaluateOptions, evaluate
>>> water = dock.read("fixtures/openmx/h2o")
>>> H, S = water.require("H"), water.require("S")
>>> evaluate(H + 0.1 * S, water, EvaluateOptions(matrix_only=True)).facts()["formula"]
'OH2'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dock.evaluate.blocks import BlockErrors
    from dock.evaluate.dataset import DatasetStats, Split, features, split, split_folder, stats
    from dock.evaluate.equivariance import (
        Equivariance,
        find_rotation,
        measure,
        random_rotations,
        write_rotated,
    )
    from dock.evaluate.report import EvaluationSet, band_overlay, evaluate_set
    from dock.evaluate.structure import EvaluateOptions, StructureErrors, evaluate

__all__ = [
    "BlockErrors",
    "DatasetStats",
    "Equivariance",
    "EvaluateOptions",
    "EvaluationSet",
    "Split",
    "StructureErrors",
    "band_overlay",
    "evaluate",
    "evaluate_set",
    "features",
    "find_rotation",
    "measure",
    "random_rotations",
    "split",
    "split_folder",
    "stats",
    "write_rotated",
]

_HOMES = {
    "BlockErrors": "dock.evaluate.blocks",
    "DatasetStats": "dock.evaluate.dataset",
    "Equivariance": "dock.evaluate.equivariance",
    "EvaluateOptions": "dock.evaluate.structure",
    "EvaluationSet": "dock.evaluate.report",
    "Split": "dock.evaluate.dataset",
    "StructureErrors": "dock.evaluate.structure",
    "band_overlay": "dock.evaluate.report",
    "evaluate": "dock.evaluate.structure",
    "evaluate_set": "dock.evaluate.report",
    "features": "dock.evaluate.dataset",
    "find_rotation": "dock.evaluate.equivariance",
    "measure": "dock.evaluate.equivariance",
    "random_rotations": "dock.evaluate.equivariance",
    "split": "dock.evaluate.dataset",
    "split_folder": "dock.evaluate.dataset",
    "stats": "dock.evaluate.dataset",
    "write_rotated": "dock.evaluate.equivariance",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dock.evaluate' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
