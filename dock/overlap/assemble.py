"""Linear-time assembly of two-centre operators into an AOMatrix, or slab by slab into a file."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.core.structure import AnyStructure, Structure
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.overlap._plan import Plan, by_kind
from dock.overlap.neighbours import (
    check_distances,
    orbital_cutoffs,
    orbital_pairs,
    projector_pairs,
    require_species,
)
from dock.overlap.radial import QGrid, basis_notes
from dock.overlap.twocenter import Side, make_plan, make_raising, orbital_side, position_side

__all__ = ["QUANTITIES", "Integrals", "compute_integrals", "compute_overlap"]

QUANTITIES = ("overlap", "kinetic", "position", "gradient", "kinetic_gradient")
"""The operators that `Integrals` makes, by their names in `dock.core.quantity`."""

_log = logging.getLogger("dock")
_SLAB_ENTRIES = 2**21  # entries of one slab: 16 MB of float64
_CHUNKS = 8  # parts that each thread takes, so that they end together


def compute_overlap(
    structure: AnyStructure,
    basis: Basis,
    *,
    pairs: str | Pairs = "orbital",
    jobs: int = 1,
    projectors: Mapping[str, float] | None = None,
) -> AOMatrix:
    """Compute the overlap matrix of a structure from the radial functions of its basis.

    Parameters
    ----------
    structure
        Atoms, ASE's and pymatgen's too; R of the pairs counts from their positions as they are.
    basis
        Shells with radial functions, for the species labels of the structure.
    pairs
        ``"orbital"``: the pairs of atoms whose orbitals touch; ``"kb"``: also those that meet
        through a projector, with zero blocks; or a pattern.
    projectors
        Radius of each species' longest projector, Å, for ``"kb"``.

    Returns
    -------
    AOMatrix
        Both (R, i, j) and (−R, j, i) of every pair.

    Raises
    ------
    MissingDataError
        When a shell has no radial function.
    UsageError
        When a species is missing, a radial function is not normalised within 10 %, or the
        cutoffs span hundreds of cells.
    LayoutError
        When atoms stand on top of each other, or the pattern belongs to another structure.

    Examples
    --------
    Two s Gaussians exp(−α r²) at the distance d overlap by exp(−α d²/2):

    >>> import numpy as np
    >>> from dock.core.basis import Basis, Shell
    >>> from dock.core.structure import Structure
    >>> from dock.overlap.radial import gaussian_radial
    >>> pair = Structure(np.eye(3) * 40, [[0, 0, 0], [0, 0, 1.0]], [1, 1], pbc=(False,) * 3)
    >>> basis = Basis({"H": (Shell(0, radial=gaussian_radial(0, 0.8)),)}, pair.labels)
    >>> S = compute_overlap(pair, basis)
    >>> print(np.round(S.block([0, 0, 0], 0, 1)[0, 0] - np.exp(-0.4), 10) + 0)
    0.0
    """
    integrals = Integrals.prepare(structure, basis, pairs=pairs, projectors=projectors)
    return integrals.matrix("overlap", jobs=jobs)


def compute_integrals(
    structure: AnyStructure,
    basis: Basis,
    quantities: Sequence[str] = ("overlap",),
    *,
    pairs: str | Pairs = "orbital",
    jobs: int = 1,
    projectors: Mapping[str, float] | None = None,
) -> dict[str, AOMatrix]:
    """Compute several two-centre operators on the same pairs, by name; else as `compute_overlap`.

    The quantities are names or letters: ``overlap`` (S), ``kinetic`` (T, eV), ``position`` (r, Å:
    ⟨i|r|j⟩ about the global origin), ``gradient`` (dS, 1/Å: ⟨i|∇|j⟩ = −∂S/∂r_j = ∂S/∂r_i) and
    ``kinetic_gradient`` (dT, eV/Å: −∂T/∂r_j). An unknown one is a ConventionError.
    """
    names = [two_centre_name(name) for name in quantities]
    integrals = Integrals.prepare(structure, basis, pairs=pairs, projectors=projectors)
    return {name: integrals.matrix(name, jobs=jobs) for name in names}


def two_centre_name(name: str) -> str:
    """Return the full name of a two-centre quantity given by name or letter.

    Examples
    --------
    >>> two_centre_name("S"), two_centre_name("dS")
    ('overlap', 'gradient')
    """
    if name == "dS":
        return "gradient"
    full = quantity_of(name).name
    if full not in QUANTITIES:
        raise UsageError(
            f"{full} is no two-centre integral. Possible: S (overlap), T (kinetic), r (position), "
            "dS (gradient), dT (kinetic_gradient)."
        )
    return full


@dataclass(frozen=True, eq=False)
class Integrals:
    """The tables and pairs of one structure, from which operators are made.

    The notes are what the check of the radial functions found worth saying; `q_last` is the
    momentum beyond which the orbitals' waves are left out, 1/Å.
    """

    structure: Structure
    basis: Basis
    pairs: Pairs
    notes: tuple[str, ...] = field(default=())
    q_last: float | None = None

    @classmethod
    def prepare(
        cls,
        structure: AnyStructure,
        basis: Basis,
        *,
        pairs: str | Pairs = "orbital",
        projectors: Mapping[str, float] | None = None,
    ) -> Integrals:
        """Check the basis and find the pairs; see `compute_overlap` for arguments and errors."""
        structure = Structure.of(structure)
        if basis.labels != structure.labels:
            require_species(structure, basis.shells)
            basis = Basis(basis.shells, structure.labels)
        notes = tuple(basis_notes(basis))
        for note in notes:
            _log.warning(note)
        if isinstance(pairs, Pairs):
            if pairs.n_atoms != structure.n_atoms:
                raise LayoutError(
                    f"the pattern is for {pairs.n_atoms} atoms, the structure has "
                    f"{structure.n_atoms}."
                )
            check_distances(structure)
        elif pairs == "orbital":
            pairs = orbital_pairs(structure, orbital_cutoffs(basis))
        elif pairs != "kb":
            raise UsageError(f"pairs: expected orbital, kb or a pattern, found {pairs!r}.")
        elif projectors is None:
            raise MissingDataError(
                "the radius of the projectors",
                "basis",
                "SIESTA's .ion files hold projectors; beside ABACUS's .orb files put one .upf file "
                "of each element. Or pass pairs='orbital', or a file.",
            )
        else:
            pairs = projector_pairs(structure, orbital_cutoffs(basis), projectors)
        return cls(structure, basis, pairs, notes)

    @cached_property
    def layout(self) -> BlockLayout:
        """Where the blocks stand."""
        counts = self.basis.counts
        return BlockLayout(counts[self.pairs.i], counts[self.pairs.j])

    @cached_property
    def _orbitals(self) -> tuple[QGrid, Side]:
        return orbital_side(self.basis, q_last=self.q_last)

    @cached_property
    def _plan(self) -> Plan:
        grid, side = self._orbitals
        return make_plan(self.structure, self.basis, (side, side), grid, kinetic=False)

    @cached_property
    def _kinetic_plan(self) -> Plan:
        grid, side = self._orbitals
        return make_plan(self.structure, self.basis, (side, side), grid, kinetic=True)

    @cached_property
    def _position_plan(self) -> Plan:
        grid, side = self._orbitals
        sides = (side, position_side(self.basis, grid))
        return make_plan(self.structure, self.basis, sides, grid, kinetic=False)

    def matrix(self, quantity: str, *, jobs: int = 1) -> AOMatrix:
        """Return one operator on all pairs, float64."""
        name = two_centre_name(quantity)
        n_vector = quantity_of(name).n_vector
        out = np.empty((n_vector, self.layout.n_entries))
        first = self.layout.starts[:-1]
        chosen: NDArray[Any] | slice = slice(None)
        mirror = np.full(len(first), -1)
        if n_vector == 1 and self.pairs.is_closed:
            order, partner = np.arange(len(first)), self.pairs.partner
            chosen = np.flatnonzero(order <= partner)
            mirror = np.where(partner > order, first[partner], -1)
        places = (first[chosen], mirror[chosen])
        self._fill(name, chosen, places, out, jobs)
        return AOMatrix(name, self.structure, self.basis, self.pairs, Spin.NONE, out)

    def slabs(
        self, quantity: str, *, jobs: int = 1, dtype: DTypeLike = np.float64
    ) -> Iterator[NDArray[Any]]:
        """Yield the entries in order, (n_components, some) at a time, in reused buffers.

        The memory does not grow with the structure; each block is computed by itself. The next
        `jobs` slabs are computed while the caller stores one.
        """
        name = two_centre_name(quantity)
        n_vector = quantity_of(name).n_vector
        bounds = self._slab_bounds(_SLAB_ENTRIES // n_vector)
        if not bounds:
            return
        longest = max(int(self.layout.starts[b] - self.layout.starts[a]) for a, b in bounds)
        ahead = min(max(jobs, 1), len(bounds))
        buffers = [np.empty(n_vector * longest, dtype=dtype) for _ in range(ahead + 1)]
        self._kernel(name)  # imports and tables once, before there are threads
        with ThreadPoolExecutor(ahead) as pool:
            waiting: deque[Future[NDArray[Any]]] = deque()
            for number in range(len(bounds) + ahead):
                # The buffer to fill next is the one that the caller has just given back.
                if number < len(bounds):
                    buffer = buffers[number % (ahead + 1)]
                    waiting.append(pool.submit(self._slab, name, bounds[number], buffer))
                if number >= ahead:
                    yield waiting.popleft().result()

    def _slab_bounds(self, entries: int) -> list[tuple[int, int]]:
        """Cut the pairs so that each part has about `entries` entries and at least one pair."""
        starts, bounds, begin = self.layout.starts, [], 0
        while begin < len(self.pairs):
            limit = starts[begin] + max(entries, 1)
            end = max(begin + 1, int(np.searchsorted(starts, limit, side="right")) - 1)
            bounds.append((begin, end))
            begin = end
        return bounds

    def _slab(self, name: str, bounds: tuple[int, int], buffer: NDArray[Any]) -> NDArray[Any]:
        """Compute the pairs begin … end into the front of a buffer; return that part."""
        begin, end = bounds
        starts = self.layout.starts
        size = int(starts[end] - starts[begin])
        n_vector = quantity_of(name).n_vector
        part = buffer[: n_vector * size].reshape(n_vector, size)
        first = starts[begin:end] - starts[begin]
        self._fill(name, slice(begin, end), (first, np.full(end - begin, -1)), part, 1)
        return part

    def _fill(
        self,
        name: str,
        chosen: NDArray[Any] | slice,
        places: tuple[NDArray[Any], NDArray[Any]],
        out: NDArray[Any],
        jobs: int,
    ) -> None:
        """Compute the chosen pairs into `out` in `jobs` threads.

        `places` are the first entry of each chosen block and of its transpose, −1 for none.
        """
        pairs = self.pairs
        atoms = pairs.i[chosen], pairs.j[chosen]
        columns = by_kind(self.basis, *atoms, pairs.R[chosen], *places)
        work = self._kernel(name)
        n = len(places[0])
        if jobs <= 1 or n < 2 * jobs:
            work(*columns, 0, n, out)
            return
        marks = np.linspace(0, n, jobs * _CHUNKS + 1).astype(np.int64)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda ends: work(*columns, *ends, out), pairwise(marks.tolist())))

    def _kernel(self, name: str) -> Callable[..., None]:
        """Return the compiled loop of a quantity, with its plan bound."""
        from dock.overlap import _kernels

        plan = self._kinetic_plan if name.startswith("kinetic") else self._plan
        scalars: Callable[..., None] = _kernels.fill_blocks
        positions: Callable[..., None] = _kernels.fill_positions
        gradients: Callable[..., None] = _kernels.fill_gradients
        moved = (self._position_plan, make_raising(self.basis)) if name == "position" else ()

        def fill(*columns: Any) -> None:
            """Take kinds, i, j, R, first, mirror, begin, end, out."""
            if name == "position":
                positions(plan, *moved, *columns[:5], *columns[6:])
            elif name.endswith("gradient"):
                gradients(plan, *columns[:5], *columns[6:])
            else:
                scalars(plan, *columns[:-1], columns[-1][0])

        return fill
