"""How good a Hamiltonian is: errors of predictions, data sets, tests of symmetry.

>>> import dock
>>> from dock.evaluate import EvaluateOptions, evaluate
>>> water = dock.read("fixtures/openmx/h2o")
>>> H, S = water.require("H"), water.require("S")
>>> evaluate(H + 0.1 * S, water, EvaluateOptions(matrix_only=True)).facts()["formula"]
'OH2'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.evaluate.blocks import BlockErrors as BlockErrors
    from dock.evaluate.dataset import (
        DatasetStats as DatasetStats,
        Split as Split,
        features as features,
        split as split,
        split_folder as split_folder,
        stats as stats,
    )
    from dock.evaluate.equivariance import (
        Equivariance as Equivariance,
        find_rotation as find_rotation,
        measure as measure,
        random_rotations as random_rotations,
        write_rotated as write_rotated,
    )
    from dock.evaluate.report import (
        EvaluationSet as EvaluationSet,
        band_overlay as band_overlay,
        evaluate_set as evaluate_set,
    )
    from dock.evaluate.structure import (
        EvaluateOptions as EvaluateOptions,
        StructureErrors as StructureErrors,
        evaluate as evaluate,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.evaluate.blocks": "BlockErrors",
        "dock.evaluate.dataset": "DatasetStats Split features split split_folder stats",
        "dock.evaluate.equivariance": (
            "Equivariance find_rotation measure random_rotations write_rotated"
        ),
        "dock.evaluate.report": "EvaluationSet band_overlay evaluate_set",
        "dock.evaluate.structure": "EvaluateOptions StructureErrors evaluate",
    },
)
