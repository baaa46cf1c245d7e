"""What is asked of a solver, what it answers, and the protocol of all of them.

A solver is a file of this package. Callers say what they want (`Want`), never how;
`dock.states.choice` picks the solver, and `dock.states.stream` runs it over k and channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError

__all__ = ["Certificate", "Eigenproblem", "Eigenstates", "Plan", "Removal", "Solver", "Want"]

Removal: TypeAlias = Literal["project", "window", "orbital"]
"""How nearly dependent orbitals are dealt with, see `Want.removal`."""


@dataclass(frozen=True)
class Want:
    """What is asked for at each k-point; the default is all energies.

    At most one of `window`, `bands` and `nearest` is given, else a `UsageError`, as for one without
    meaning. Without `vectors`, a solver may give more than was asked for where that costs nothing;
    `Eigenstates.n_below` says which states they are.

    Attributes
    ----------
    vectors
        The states too, not only their energies.
    window
        States with emin ≤ e ≤ emax, eV, absolute.
    bands
        States first … stop − 1, counted from 0 at the lowest.
    nearest
        At least the n states nearest to an energy (eV, absolute), as (n, energy).
    s_threshold
        Eigenvalue of S below which a combination of orbitals is nearly dependent and is removed;
        by default nothing is.
    removal
        What is removed. ``project``: solve in the span of the eigenvectors of S whose eigenvalue
        exceeds the threshold. ``orbital``: leave out as few orbitals as bring the smallest
        eigenvalue of S above it, so that H and S stay sparse. ``window``: solve with all
        orbitals, and leave out states x with x†Sx / x†x below it, which are made of nearly
        dependent combinations; S itself must be positive definite.
    """

    vectors: bool = False
    window: tuple[float, float] | None = None
    bands: tuple[int, int] | None = None
    nearest: tuple[int, float] | None = None
    s_threshold: float | None = None
    removal: Removal = "project"

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.window, self.bands, self.nearest)) > 1:
            raise UsageError(
                "Give one of an energy window, a range of states, and a number of states."
            )
        if self.window is not None and not self.window[0] < self.window[1]:
            raise UsageError(
                f"An energy window is (emin, emax) with emin < emax. Found {self.window}."
            )
        if self.bands is not None and not 0 <= self.bands[0] < self.bands[1]:
            raise UsageError(
                f"A range of states is (first, stop) with 0 ≤ first < stop. Found {self.bands}."
            )
        if self.nearest is not None and self.nearest[0] < 1:
            raise UsageError(f"The number of states must be at least 1, found {self.nearest[0]}.")
        if self.removal not in get_args(Removal):
            raise UsageError(
                f"A removal is one of {', '.join(get_args(Removal))}. Found '{self.removal}'."
            )

    @property
    def everything(self) -> bool:
        """Whether all states are wanted."""
        return self.window is None and self.bands is None and self.nearest is None

    def within(self, energies: NDArray[np.float64]) -> tuple[int, int]:
        """Return the first wanted state and the one after the last among all, ascending."""
        if self.window is not None:
            first = int(np.searchsorted(energies, self.window[0], side="left"))
            return first, int(np.searchsorted(energies, self.window[1], side="right"))
        if self.bands is not None:
            stop = min(self.bands[1], len(energies))
            return min(self.bands[0], stop), stop
        if self.nearest is not None:
            count, energy = self.nearest
            order = np.argsort(np.abs(energies - energy), kind="stable")[:count]
            return (int(order.min()), int(order.max()) + 1) if len(order) else (0, 0)
        return 0, len(energies)


@dataclass(frozen=True)
class Certificate:
    """Why no state is missing, in a clause (``all energies by LAPACK``), and how exact they are.

    `counted` is the number of states in the range by an independent count (inertia), None where
    the method itself leaves none out; `residual_eV` the largest ‖H x − e S x‖ of the states, None
    where it was not measured; `between_eV` the energies at which inertia was taken. Where `proven`
    is false nothing says that no state is missing, and `Eigenstates.n_below` is a likely number.
    """

    reason: str
    counted: int | None = None
    residual_eV: float | None = None  # noqa: N815 - the unit is written as everywhere
    between_eV: tuple[float, float] | None = None  # noqa: N815
    proven: bool = True


@dataclass(frozen=True, eq=False)
class Eigenstates:
    """The states of one eigenproblem.

    Attributes
    ----------
    energies : float64 (n,)
        Ascending, in the unit of H (eV in `dock`).
    vectors : (N, n) or None
        Columns x with x† S x = 1, float64 or complex128.
    n_below
        Number of states below the first one here: 0 unless a part was asked for.
    smallest_overlap
        The smallest eigenvalue of S, where it was computed (with `Want.s_threshold`).
    n_removed
        The nearly dependent combinations, orbitals or states that the threshold took out.
    certificate
        Why these are all states that were asked for.
    """

    energies: NDArray[np.float64]
    vectors: NDArray[Any] | None = None
    n_below: int = 0
    smallest_overlap: float | None = None
    n_removed: int = 0
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        self.energies.flags.writeable = False
        if self.vectors is not None:
            self.vectors.flags.writeable = False


class Eigenproblem(Protocol):
    """What the stream and the dense solver need of a problem; `Problem` is one."""

    @property
    def size(self) -> int:
        """Rows of H(k)."""

    @property
    def n_channels(self) -> int:
        """Eigenproblems per k-point: 2 for collinear spin."""

    def dense(self, channel: int, k_frac: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return H(k) and S(k), arrays that the caller may overwrite."""


@dataclass(frozen=True)
class Plan:
    """How a solver, taken for a reason, will work, known before anything large is allocated.

    `workers` problems are solved at once, each with `blas_threads` threads of BLAS;
    `memory_bytes` is the memory of all workers together, `seconds` the time of one problem by the
    measured speed of this machine (None where it is not known). `detail` is the method in a few
    words (``multifrontal, single precision``).
    """

    solver: str
    reason: str
    workers: int
    blas_threads: int
    memory_bytes: int
    seconds: float | None = None
    detail: str = ""


class Solver(Protocol):
    """A way to solve H(k) x = e S(k) x.

    One object serves all k-points and channels of a stream, so that it can keep what they share (a
    symbolic factorisation); `solve` is called from several threads when the plan has more than
    one worker.
    """

    @property
    def name(self) -> str:
        """The word of ``--solver``."""

    def plan(self, problem: Any, want: Want, n_problems: int, jobs: int) -> Plan:
        """Return memory and threads for `n_problems` problems, before anything is done."""

    def solve(
        self, problem: Any, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point."""

    def close(self) -> None:
        """Free what the solver kept."""
