"""Two-centre tables: radial integrals of each shell pair and bond channel on a grid of distances.

With F_a(q) = ∫ r² R_a(r) j_l(q r) dr, d the vector from the first to the second centre, and real
harmonics Y (Sankey and Niklewski, Phys. Rev. B 40, 3979; Soler et al., J. Phys. Condens. Matter
14, 2745):

    ⟨a|b⟩(d) = Σ_LM 8 i^(l₁−l₂−L) G(l₁m₁, l₂m₂, LM) Y_LM(d̂) ∫ q² F_a(q) F_b(q) j_L(q d) dq

The kinetic energy has the factor ħ²q²/2m in the integral. The channels L = |l₁−l₂|, +2, … l₁+l₂
are as many as the bond channels m = 0 … min(l₁, l₂) of Slater and Koster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.structure import Structure
from dock.overlap._plan import Plan, Raising
from dock.overlap.angular import (
    AngularTerms,
    angular_terms,
    legendre_factors,
    position_terms,
    sphere_gradient,
)
from dock.overlap.radial import Function, QGrid, choose_q_grid, radial_of, same_centre, transform
from dock.units import CODATA2018

__all__ = [
    "KINETIC_FACTOR",
    "TABLE_STEP",
    "Side",
    "make_plan",
    "make_raising",
    "orbital_side",
    "position_side",
]

TABLE_STEP = 0.02
"""Distance of the table's nodes, Å; quintic interpolation then errs by less than 1e-10."""

KINETIC_FACTOR = 0.5 * CODATA2018.hartree_ev * CODATA2018.bohr_angstrom**2
"""ħ²/2m in eV Å²."""


@dataclass(frozen=True)
class Side:
    """The functions of each species on one side, and their (n_functions, n_q) transforms."""

    functions: tuple[tuple[Function, ...], ...]
    transforms: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, basis: Basis, transforms: NDArray[np.float64]) -> Side:
        """Return the orbitals of a basis, whose transforms stand species by species."""
        functions = tuple(
            tuple(Function(radial_of(s, label), s.l, s.l, 0) for s in basis.shells[label])
            for label in basis.species
        )
        ends = np.cumsum([len(group) for group in functions])
        return cls(functions, tuple(np.split(transforms, ends[:-1])))

    @property
    def ls(self) -> list[list[int]]:
        """For each species, the angular momentum of each function."""
        return [[item.order for item in group] for group in self.functions]

    @property
    def cutoffs(self) -> list[list[float]]:
        """For each species, the radius of each function, Å."""
        return [[item.radial.cutoff for item in group] for group in self.functions]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of orbitals of each species."""
        return np.array([sum(2 * l + 1 for l in ls) for ls in self.ls], dtype=np.int64)


def orbital_side(basis: Basis, *, q_last: float | None = None) -> tuple[QGrid, Side]:
    """Return the shared q-grid of a basis, and its functions themselves.

    `q_last` cuts their waves off, see `dock.overlap.radial.choose_q_grid`.
    """
    shells = [shell for label in basis.species for shell in basis.shells[label]]
    grid, transforms = choose_q_grid(shells, q_last=q_last)
    return grid, Side.of(basis, transforms)


def position_side(basis: Basis, grid: QGrid) -> Side:
    """Return r R(r) with l − 1 and l + 1 of each shell: n_α Y_lm r R is made of these."""
    functions = [
        tuple(
            Function(radial_of(shell, label), shell.l, order, 1)
            for shell in basis.shells[label]
            for order in (shell.l - 1, shell.l + 1)
            if order >= 0
        )
        for label in basis.species
    ]
    return Side(tuple(functions), tuple(transform(group, grid) for group in functions))


def _channels(l1: int, l2: int) -> range:
    return range(abs(l1 - l2), l1 + l2 + 1, 2)


def _rows(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return L, left and right function of each channel of a pair of species."""
    return [
        (L, a, b)
        for a, l1 in enumerate(left)
        for b, l2 in enumerate(right)
        for L in _channels(l1, l2)
    ]


def _bessel_tables(
    grid: QGrid, n_nodes: int, orders: set[int]
) -> Mapping[int, NDArray[np.float64]]:
    """Return, by L, the (3, n_q, n_nodes) tables of j_L(q d), step · slope, step² · curvature."""
    from dock.overlap._radial_kernels import bessel_table

    wanted = np.array(sorted(orders), dtype=np.int64)
    tables = np.empty((len(wanted), 3, grid.n, n_nodes))
    bessel_table(wanted, grid.q, TABLE_STEP, tables)
    tables[:, 1] *= TABLE_STEP
    tables[:, 2] *= TABLE_STEP**2
    return dict(zip(wanted.tolist(), tables, strict=True))


def _tables(first: Side, second: Side, grid: QGrid, *, kinetic: bool) -> dict[str, NDArray[Any]]:
    """Integrate every shell pair and channel of every species pair; see `Plan` for the arrays."""
    kinds = [(a, b) for a in range(len(first.ls)) for b in range(len(second.ls))]
    reach = [max(first.cutoffs[a]) + max(second.cutoffs[b]) for a, b in kinds]
    # The table ends with a node at or beyond the reach, where everything is zero.
    n_nodes = np.array([int(np.ceil(r / TABLE_STEP)) + 1 for r in reach], dtype=np.int64)
    distances = TABLE_STEP * np.arange(n_nodes.max())
    channels_of = [_rows(first.ls[a], second.ls[b]) for a, b in kinds]
    orders = {L for rows in channels_of for L, _, _ in rows}
    bessel = _bessel_tables(grid, len(distances), orders)
    weight = grid.step * grid.q**2
    if kinetic:
        weight = weight * KINETIC_FACTOR * grid.q**2
    blocks = []
    for (a, b), n, rows in zip(kinds, n_nodes, channels_of, strict=True):
        block = np.empty((n, 3, len(rows)))
        for L in {row[0] for row in rows}:
            channels = [c for c, row in enumerate(rows) if row[0] == L]
            left, right = np.array([rows[c][1:] for c in channels]).T
            product = weight * first.transforms[a][left] * second.transforms[b][right]
            block[:, :, channels] = (product @ bessel[L][:, :, :n]).transpose(2, 0, 1)
        if a == b and not grid.is_cut:
            _put_same_centre(block, rows, (first.functions[a], second.functions[b]), kinetic)
        ends = [first.cutoffs[a][left] + second.cutoffs[b][right] for _, left, right in rows]
        block[(distances[:n, None] >= np.array(ends))[:, None, :].repeat(3, axis=1)] = 0.0
        blocks.append(block.ravel())
    sizes = np.array([len(block) for block in blocks])
    return {
        "table": np.concatenate(blocks),
        "table_start": np.cumsum(sizes) - sizes,
        "n_nodes": n_nodes,
        "n_channels": sizes // (3 * n_nodes),
    }


def _put_same_centre(
    block: NDArray[np.float64],
    rows: Sequence[tuple[int, int, int]],
    functions: tuple[Sequence[Function], Sequence[Function]],
    kinetic: bool,
) -> None:
    """Replace the values at distance 0 by integrals in real space; ∫q²F²dq is π/2 of ∫r²R²dr."""
    factor = np.pi / 2 * (KINETIC_FACTOR if kinetic else 1.0)
    for channel, (L, left, right) in enumerate(rows):
        if L == 0:
            pair = functions[0][left], functions[1][right]
            block[0, 0, channel] = factor * same_centre(*pair, kinetic=kinetic)


def make_plan(
    structure: Structure, basis: Basis, sides: tuple[Side, Side], grid: QGrid, *, kinetic: bool
) -> Plan:
    """Return everything that the kernels need for the overlap, or the kinetic energy.

    `sides` are the functions of the first and of the second centre, `grid` that of their
    transforms.
    """
    first, second = sides
    terms = angular_terms(
        (l1, l2) for left in first.ls for right in second.ls for l1 in left for l2 in right
    )
    kinds = [(left, right) for left in first.ls for right in second.ls]
    group_start, group = _flat(
        [sorted({terms.groups[l1, l2] for l1 in left for l2 in right}) for left, right in kinds]
    )
    channel_start, channel_order = _flat([[L for L, _, _ in _rows(*kind)] for kind in kinds])
    lmax = [max(left) + max(right) for left, right in kinds]
    up, down = legendre_factors(max(lmax))
    turn_start, turn_lm, turn_weight = sphere_gradient(max(lmax))
    return Plan(
        positions=np.array(structure.positions),
        cell=np.array(structure.cell),
        species=basis.species_index.astype(np.int64),
        n_species=len(second.ls),
        n_rows=first.counts(),
        n_cols=second.counts(),
        step=TABLE_STEP,
        **_tables(first, second, grid, kinetic=kinetic),
        channel_start=channel_start,
        channel_order=channel_order,
        lmax=np.array(lmax),
        group_start=group_start,
        group=group,
        factor_start=terms.factor_start,
        term_start=terms.term_start,
        term_lm=terms.lm,
        term_weight=terms.weight,
        **_sums(kinds, terms),
        turn_start=turn_start,
        turn_lm=turn_lm,
        turn_weight=turn_weight,
        up=up,
        down=down,
    )


def _flat(parts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each part begins in the list of all, and that list."""
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return starts, np.array([item for part in parts for item in part], dtype=np.int64)


def _sums(
    kinds: Sequence[tuple[Sequence[int], Sequence[int]]], terms: AngularTerms
) -> dict[str, NDArray[Any]]:
    """Return the products that the entries of each kind's blocks are sums of; see `Plan`.

    Each kind has one mark more than entries, the end of its last entry.
    """
    products: list[tuple[int, int]] = []
    marks, sum_start = [], [0]
    for left, right in kinds:
        for entry in _products(left, right, terms):
            marks.append(len(products))
            products += entry
        marks.append(len(products))
        sum_start.append(len(marks))
    channel, factor = np.array(products, dtype=np.int64).reshape(-1, 2).T
    return {
        "sum_start": np.array(sum_start, dtype=np.int64),
        "product_start": np.array(marks, dtype=np.int64),
        "product_channel": np.ascontiguousarray(channel),
        "product_factor": np.ascontiguousarray(factor),
    }


def _products(
    left: Sequence[int], right: Sequence[int], terms: AngularTerms
) -> list[list[tuple[int, int]]]:
    """Return the (channel, angular factor) whose products add up to each entry of a block."""
    entries: list[list[tuple[int, int]]] = []
    channel = 0
    for l1 in left:
        rows: list[list[list[tuple[int, int]]]] = [[] for _ in range(2 * l1 + 1)]
        for l2 in right:
            size = (2 * l1 + 1) * (2 * l2 + 1)
            place = int(terms.factor_start[terms.groups[l1, l2]])
            used = [
                [
                    (channel + c, place + c * size + e)
                    for c in range(len(_channels(l1, l2)))
                    if terms.term_start[place + c * size + e + 1]
                    > terms.term_start[place + c * size + e]
                ]
                for e in range(size)
            ]
            for a, row in enumerate(rows):
                row += used[a * (2 * l2 + 1) : (a + 1) * (2 * l2 + 1)]
            channel += len(_channels(l1, l2))
        entries += [entry for row in rows for entry in row]
    return entries


def make_raising(basis: Basis) -> Raising:
    """Return how (r − r_j) acting on the orbitals is made of the functions of `position_side`."""
    starts, sources, targets, weights = [0], [], [], []
    for label in basis.species:
        for direction in (1, -1, 0):
            source, target = 0, 0
            for l in basis.ls(label):
                for other in (l - 1, l + 1):
                    if other < 0:
                        continue
                    table = position_terms(l, other, direction)
                    rows, cols = np.nonzero(table)
                    sources += (source + rows).tolist()
                    targets += (target + cols).tolist()
                    weights += table[rows, cols].tolist()
                    source += 2 * other + 1
                target += 2 * l + 1
            starts.append(len(sources))
    return Raising(np.array(starts), np.array(sources), np.array(targets), np.array(weights))
