"""What a Chebyshev expansion costs, from the pairs of atoms alone, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.core.kspace import is_time_reversal_invariant
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.kpm.factored import NEIGHBOURS
from dock.states.kpm.pencil import PIECE, Tile
from dock.states.memory import allowance, in_words
from dock.states.problem import Problem
from dock.states.solver import Plan
from dock.states.speed import multiplications_per_second

__all__ = ["Cost"]

_BLOCKS = 12  # of vectors at once: states, the polynomial's, sums of threads
_PER_PAIR = 150  # bytes: places, and those of the pairs themselves
_DEGREE = 6  # of the polynomial for B⁻¹, as for a DZP basis
_SPEED = 0.3  # of a matrix product: blocks of atoms are small (measured)
_LIMIT = 0.95  # of the memory that may be taken


@dataclass(frozen=True)
class Cost:
    """Memory and work of an expansion at one k-point.

    Attributes
    ----------
    memory_bytes
        Matrices, inverse, vectors, and what reading takes.
    multiplications
        Of one step of all vectors of a block, with the inverse.
    """

    n_atoms: int
    memory_bytes: int
    multiplications: float
    kind: str

    @classmethod
    def of(
        cls,
        problem: Problem,
        k_frac: NDArray[np.float64],
        *,
        tile: Tile = (1, 1, 1),
        single: bool = True,
        width: int = 16,
        n_groups: int = 1,
    ) -> Cost:
        """Return the cost of blocks of `width` vectors; only the pairs are read."""
        basis, sources = problem.basis, problem.row_sources
        pairs = problem.pairs if sources is None else sources[0].pairs()
        n_cells, spinor = int(np.prod(tile)), problem.spin is Spin.NONCOLLINEAR
        per_pair = basis.counts[pairs.i].astype(np.int64) * basis.counts[pairs.j]
        own = int(np.sum(basis.counts.astype(np.int64) ** 2))
        n_spins = 4 if spinor else 1
        stored = n_spins * (int(per_pair.sum()) + own) / 2
        shares = min(1.0, 2 * NEIGHBOURS * basis.n_atoms / max(1, len(pairs)))
        inverse = n_spins * own + stored * shares
        number = (4 if single else 8) * (2 if spinor else 1)
        is_complex = spinor or not is_time_reversal_invariant(k_frac)
        row = problem.size * n_cells * width
        vectors = _BLOCKS * row * (4 if single else 8) * (2 if is_complex else 1)
        reading = 8 * 3 * min(PIECE, int(per_pair.sum())) * (2 if spinor else 1)
        memory = number * (2 * stored + inverse) + _PER_PAIR * len(pairs) / 2 + vectors + reading
        memory += 16.0 * row * (n_groups > 1)
        work = width * (2 * stored * (1 + _DEGREE) + 2 * inverse * (1 + _DEGREE)) * n_cells
        work *= 2 if is_complex and not spinor else 4 if spinor else 1
        kind = "float32" if single else "float64"
        return cls(basis.n_atoms * n_cells, int(memory), float(work), kind)

    @property
    def per_atom(self) -> float:
        """Bytes an atom."""
        return self.memory_bytes / self.n_atoms

    def seconds(self, n_moments: int, threads: int) -> float:
        """Return the time of one block of random vectors, about."""
        fast = _SPEED * multiplications_per_second(self.kind) * threads**0.8
        return float(n_moments / 2 * self.multiplications / fast)

    def plan(self, n_moments: int, threads: int) -> Plan:
        """Return the plan; `seconds` is that of one block of vectors."""
        detail = f"about {n_moments} moments"
        reason = "densities need no states"
        seconds = self.seconds(n_moments, threads)
        return Plan("kpm", reason, 1, threads, self.memory_bytes, seconds, detail)

    def require_room(self) -> None:
        """Refuse what has no room, before it is allocated."""
        room = allowance()
        if self.memory_bytes > _LIMIT * room.n_bytes:
            raise UsageError(
                f"the expansion of {self.n_atoms} atoms needs {in_words(self.memory_bytes)} "
                f"({self.per_atom / 1e3:.0f} kB an atom), and there are {room}. Leave out double "
                "precision, take fewer vectors at once or a machine with more memory."
            )
