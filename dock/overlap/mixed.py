"""Overlaps between two bases on the same atoms: orbitals with projectors, say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.structure import AnyStructure, Structure
from dock.errors import LayoutError
from dock.overlap._plan import by_kind
from dock.overlap.neighbours import mixed_pairs, orbital_cutoffs
from dock.overlap.radial import choose_q_grid
from dock.overlap.twocenter import Side, make_plan

__all__ = ["MixedOverlap", "compute_mixed_overlap"]


@dataclass(frozen=True, eq=False)
class MixedOverlap:
    """Blocks ⟨bra function of i, cell 0 | ket function of j, cell R⟩.

    Attributes
    ----------
    bra, ket
        The two bases; both have the atoms of one structure.
    pairs
        Which blocks there are; not closed, as the partner has bra and ket exchanged.
    entries
        (n_entries,) blocks row-major, one behind another.
    """

    bra: Basis
    ket: Basis
    pairs: Pairs
    entries: FloatArray

    @cached_property
    def layout(self) -> BlockLayout:
        """Where the blocks stand."""
        return BlockLayout(self.bra.counts[self.pairs.i], self.ket.counts[self.pairs.j])

    def block(self, index: int) -> NDArray[np.float64]:
        """Return the block of a pair by its number."""
        begin, end = self.layout.starts[index : index + 2]
        shape = int(self.layout.rows[index]), int(self.layout.cols[index])
        return np.asarray(self.entries[begin:end].reshape(shape), dtype=np.float64)


def compute_mixed_overlap(
    structure: AnyStructure, bra: Basis, ket: Basis, *, q_last: float | None = None
) -> MixedOverlap:
    """Compute the overlaps between the functions of two bases on the same atoms.

    The functions of `ket` need not be normalised. R of the pairs counts from the atoms' positions
    as they are; `q_last` is the momentum beyond which waves are left out, 1/Å.

    Raises
    ------
    LayoutError
        When a basis belongs to other atoms.
    MissingDataError
        When a shell has no radial function.

    Examples
    --------
    >>> from dock.core.basis import Shell
    >>> from dock.overlap.radial import gaussian_radial
    >>> atom = Structure(np.eye(3) * 40, [[0, 0, 0]], [1], pbc=(False,) * 3)
    >>> wide, narrow = (Basis({"H": (Shell(0, radial=gaussian_radial(0, a)),)}, ("H",))
    ...                 for a in (0.5, 2.0))
    >>> found = compute_mixed_overlap(atom, wide, narrow).block(0)[0, 0]
    >>> print(round(found / (2 * np.sqrt(0.5 * 2.0) / 2.5) ** 1.5, 9))
    1.0
    """
    from dock.overlap._kernels import fill_blocks

    structure = Structure.of(structure)
    if not bra.labels == ket.labels == structure.labels:
        raise LayoutError("the two bases and the structure have different atoms.")
    shells = [s for basis in (bra, ket) for label in basis.species for s in basis.shells[label]]
    grid, transforms = choose_q_grid(shells, q_last=q_last)
    split = sum(len(bra.shells[label]) for label in bra.species)
    sides = (Side.of(bra, transforms[:split]), Side.of(ket, transforms[split:]))
    pairs = mixed_pairs(structure, orbital_cutoffs(bra), orbital_cutoffs(ket))
    plan = make_plan(structure, bra, sides, grid, kinetic=False)
    layout = BlockLayout(bra.counts[pairs.i], ket.counts[pairs.j])
    out = np.empty(layout.n_entries)
    places = (layout.starts[:-1], np.full(len(pairs), -1))
    kinds, i, j, R, first, mirror = by_kind(bra, pairs.i, pairs.j, pairs.R, *places)
    fill_blocks(plan, kinds, i, j, R, first, mirror, 0, len(pairs), out)
    return MixedOverlap(bra, ket, pairs, out)
