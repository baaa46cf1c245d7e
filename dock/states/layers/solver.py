"""The solver ``layers``: a part of the states of stacked layers, without any factorisation.

The states of each layer by itself, folded into the cell of the stack, are a good first guess in a
window of energies and a good correction outside it. A block Davidson method with harmonic Ritz
vectors (`dock.states.sparse.krylov`) does the rest. Nothing counts states: one may be missing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.layers.bloch import LayerStates, own_problem
from dock.states.layers.correction import Correction
from dock.states.layers.lattice import Lattice, lattices_of
from dock.states.problem import Problem
from dock.states.solver import Certificate, Eigenstates, Plan, Want
from dock.states.sparse.blas import blas_threads
from dock.states.sparse.krylov import Range, RitzStates, Search, Target
from dock.states.sparse.products import Products
from dock.states.speed import multiplications_per_second
from dock.threads import available_cpus

__all__ = ["LayerSolver"]

_TOLERANCE = 1e-4  # eV: residual of a state that is good
_WINDOW = 5  # states of the layers in the window, for each state that is asked for
_LEAST_WINDOW = 64
_MORE = 0.35  # of the states that are asked for, which are kept besides them
_BLOCKS = 4  # of the basis
_MOST_BLOCKS = 60
_EDGE = 0.1  # eV beyond the ends of a range, from which states may come into it
_COLUMNS = 12.0  # products for each state that is asked for (measured: 9 to 11), with the window's
_REASON = (
    "not counted: begun from the states of the layers, where one may be missing; numbers of bands "
    "are the layers'"
)


@dataclass(frozen=True)
class _Sizes:
    """How many states are asked for, and the sizes that follow."""

    number: int

    @property
    def block(self) -> int:
        """Vectors that are kept: the states with some beside them."""
        return self.number + max(8, int(_MORE * self.number))

    @property
    def capacity(self) -> int:
        """Most vectors of the basis."""
        return _BLOCKS * self.block

    @property
    def window(self) -> int:
        """States of the layers that make the window."""
        return max(_LEAST_WINDOW, _WINDOW * self.number, self.block + 8)


class LayerSolver:
    """Davidson's method from the layers' states, see the module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = available_cpus()
        self._known: tuple[Any, list[Lattice], list[Problem]] | None = None

    @property
    def name(self) -> str:
        """The word of ``--solver``."""
        return "layers"

    def plan(self, problem: Problem, want: Want, n_problems: int, jobs: int) -> Plan:  # noqa: ARG002
        """Return memory and time; see `dock.states.solver.Solver`."""
        _require_energies(want)
        self._threads = max(1, jobs)
        nnz, sizes = problem.pattern().nnz, _Sizes(want.nearest[0] if want.nearest else 64)
        vectors = 16 * problem.size * (3 * sizes.capacity + 8 * sizes.block)
        layers = 8 * problem.size * (3 * sizes.block + 64)
        speed = multiplications_per_second("complex128") * self._threads**0.8
        products = (_COLUMNS + _WINDOW) * sizes.number
        return Plan(
            self.name,
            "it was asked for, and counts no states",
            1,
            self._threads,
            nnz * (2 * 16 + 4) + vectors + layers,
            4 * nnz * products / speed,
            "Davidson from the states of the layers",
        )

    def solve(
        self, problem: Problem, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point, each with a residual below 1e-4 eV.

        Raises
        ------
        UsageError
            For structures that are no layers, states by their number, or an s_threshold.
        ConvergenceError
            Where residuals stay above that.
        """
        _require_energies(want)
        with blas_threads(1):
            lattices, own = self._layers_of(problem)
            states = LayerStates(lattices, own, problem, channel, k_frac, threads=self._threads)
            products = Products(*problem.sparse(channel, k_frac, "upper"), threads=self._threads)
            return _found(products, states, want)

    def close(self) -> None:
        """Free the layers."""
        self._known = None

    def _layers_of(self, problem: Problem) -> tuple[list[Lattice], list[Problem]]:
        with self._lock:
            if self._known is None or self._known[0] is not problem:
                lattices = lattices_of(problem.hamiltonian.structure)
                own = [own_problem(problem, lattice) for lattice in lattices]
                self._known = problem, lattices, own
            return self._known[1:]


def _found(products: Products, states: LayerStates, want: Want) -> Eigenstates:
    """Search about the middle of what is asked for."""
    if want.nearest is not None:
        number, shift = want.nearest
        target = _nearest(number, shift)
    else:
        low, high = want.window or (0.0, 0.0)
        near = (states.energies > low - _EDGE) & (states.energies < high + _EDGE)
        number, shift = max(1, int(np.count_nonzero(near))), 0.5 * (low + high)
        target = _between(low, high)
    sizes = _Sizes(number)
    if sizes.capacity > products.size // 2:
        raise UsageError(
            f"{number} states are too large a part of {products.size} for the solver 'layers'. "
            "Pass fewer, or solver='dense'."
        )
    correction = Correction(products, states, shift, sizes.window)
    search = Search(
        products,
        correction.solve,
        shift,
        block=sizes.block,
        capacity=sizes.capacity,
        tolerance=_TOLERANCE,
        start=correction.start(sizes.block),
    )
    ritz = search.run(target, most_blocks=_MOST_BLOCKS)
    wanted = target(ritz) or Range(-np.inf, np.inf)
    inside = np.flatnonzero(ritz.inside(wanted))
    energies = ritz.energies[inside]
    residual = float(ritz.residuals[inside].max()) if len(inside) else None
    n_below = correction.n_below(energies)
    vectors = search.states(ritz, inside) if want.vectors else None
    proof = Certificate(_REASON, None, residual, proven=False)
    return Eigenstates(energies, vectors, n_below, certificate=proof)


def _nearest(number: int, energy: float) -> Target:
    """Return the target of the n states nearest to an energy."""

    def target(ritz: RitzStates) -> Range | None:
        away = np.sort(np.abs(ritz.energies - energy))
        if len(away) < number:
            return None
        reach = float(away[number - 1]) + 1e-9
        return Range(energy - reach, energy + reach, number)

    return target


def _between(low: float, high: float) -> Target:
    """Return the target of all states of a window."""
    return lambda ritz: Range(low, high) if len(ritz.energies) else None


def _require_energies(want: Want) -> None:
    """Refuse what this solver cannot do."""
    if want.nearest is None and want.window is None:
        raise UsageError(
            "the solver 'layers' finds states by their energy: pass states=N with an energy, or a "
            "window. By their number, or all: solver='sparse' or 'dense'."
        )
    if want.s_threshold is not None:
        raise UsageError(
            "the solver 'layers' removes no nearly dependent orbitals. Pass solver='sparse' or "
            "'dense' with s_threshold."
        )
