"""What the tests of restarts share: a prediction as it comes, and what a new input has changed."""

import difflib

import numpy as np

import dock
import dock.restart as module

__all__ = ["changes", "prepared", "strange"]


def strange(run, target, *, matrices="H,S"):
    """Return a prediction as it comes: a unified folder that groups atoms and remembers no code.

    Its atoms stand in another order and in other cells than in the run.
    """
    calc = dock.read(run)
    n = calc.structure.n_atoms
    calc = calc.permute_atoms([*range(1, n), 0])
    names = [dock.core.quantity.quantity_of(name).name for name in matrices.split(",")]
    calc = calc.replace(
        matrices={name: calc.matrices[name] for name in names},
        provenance=dock.core.calculation.Provenance("dock"),
    )
    shift = np.arange(3 * n).reshape(n, 3) % 2
    if any(calc.structure.pbc):
        moved = calc.structure.positions - shift @ calc.structure.cell
        calc = dock.converters.origin.with_moved_atoms(calc, shift, moved)
    dock.write(calc, target)
    return target


def changes(old, new):
    """Return the lines that a new input has more and less than an old one."""
    lines = difflib.ndiff(old.read_text().split("\n"), new.read_text().split("\n"))
    return [line for line in lines if line[0] in "+-"]


def prepared(calc, run, restart):
    """Return the calculation in a run's order with the matrices that its code wants."""
    return module._prepared(module.in_order_of(calc, run), run, restart)
