"""The parameters of elements on site: levels, and the weights of neighbours' shells."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.elements.model import ElementForm, l_pairs, solved, spinless
from dock.models.data.samples import Item
from dock.models.graph import GraphPart, by_kind, parts_of
from dock.models.integrals import integrals_of, overlap_of
from dock.models.targets import TargetLayout

__all__ = ["Sites"]

_OF_FIELDS = 1e-3  # relative penalty of what neighbours add
_OF_LEVELS = 1e-8  # relative penalty of levels
_COMMON = 1e-3  # of the penalty of fields: for what the shells of one l share


class Sites:
    """Normal equations of on-site blocks: levels, and the weights of neighbours' shells."""

    def __init__(self, layout: TargetLayout) -> None:
        self._layout, self._integrals = layout, integrals_of(layout)
        self._shells = self._integrals.shells_of_orbitals()
        self._ls = sorted(set(layout.common_ls))
        self._own = [np.unique(self._shells[slots]).tolist() for slots in layout.slots]
        fields = [(label, shell) for label, own in enumerate(self._own) for shell in own]
        self._field = {key: number for number, key in enumerate(fields)}
        # Functions: the fields one by one, those of one l together, and last the levels.
        self._n_fields, self._n_added = len(fields), len(fields) + len(self._ls)
        self._level: dict[tuple[int, int], dict[tuple[int, int, int], int]] = {
            pair: self._levels_of(pair) for pair in l_pairs(layout)
        }
        sizes = {pair: self._n_added + len(own) for pair, own in self._level.items()}
        self._gram = {pair: np.zeros((size, size)) for pair, size in sizes.items()}
        self._side = {pair: np.zeros(size) for pair, size in sizes.items()}

    def _levels_of(self, pair: tuple[int, int]) -> dict[tuple[int, int, int], int]:
        """Return the levels between shells of two l by species and shells: only of the same l."""
        found: dict[tuple[int, int, int], int] = {}
        if pair[0] == pair[1]:
            for label in range(self._layout.n_species):
                for shells in combinations_with_replacement(self._of_l(label, pair[0]), 2):
                    found[label, *shells] = self._n_added + len(found)
        return found

    def _of_l(self, label: int, l: int) -> list[int]:
        """Return the shells of a species that have some l."""
        return [shell for shell in self._own[label] if self._layout.common_ls[shell] == l]

    def add(self, item: Item) -> None:
        """Add the on-site blocks of a structure."""
        labels = spinless(self._layout, item.node)
        for part in parts_of(item.graph, ElementForm.part_edges):
            numbers, added = self._of_neighbours(part)
            for label, atoms in by_kind(part.species):
                for pair in self._gram:
                    self._add(pair, label, numbers, added[atoms], labels[part.atoms][atoms])

    def _of_neighbours(self, part: GraphPart) -> tuple[IntArray, FloatArray]:
        """Return numbers of functions, and what they add to atoms (n, functions, N, N).

        They are the weights of the neighbours' shells, one by one and all of one l together.
        """
        layout = self._layout
        overlap = self._integrals.blocks(overlap_of(part), part)
        sender = part.edge_type % part.n_species
        numbers, added = [], []
        of_l = np.zeros((len(self._ls), part.n_atoms, layout.n_common, layout.n_common))
        for other, here in by_kind(sender):
            rows = part.receiver[here]
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            for shell in self._own[other]:
                own = overlap[here][:, :, self._shells == shell]
                sums = np.zeros((part.n_atoms, layout.n_common, layout.n_common))
                sums[rows[starts]] = np.add.reduceat(own @ own.swapaxes(1, 2), starts, axis=0)
                numbers.append(self._field[other, shell])
                added.append(sums)
                of_l[self._ls.index(layout.common_ls[shell])] += sums
        numbers += range(self._n_fields, self._n_added)
        return np.array(numbers), np.stack([*added, *of_l], axis=1)

    def _add(
        self,
        pair: tuple[int, int],
        label: int,
        numbers: IntArray,
        added: FloatArray,
        blocks: FloatArray,
    ) -> None:
        """Add the blocks of atoms of one species between shells of two l."""
        for one, two in product(*(self._of_l(label, l) for l in pair)):
            if pair[0] == pair[1] and two < one:
                continue
            cells = np.ix_(self._shells == one, self._shells == two)
            wanted = blocks[:, cells[0], cells[1]].reshape(-1)
            table, places = added[:, :, cells[0], cells[1]], numbers
            if pair[0] == pair[1]:
                unit = np.eye(table.shape[-1])
                level = np.broadcast_to(unit, (len(table), 1, *unit.shape))
                table = np.concatenate([level, table], axis=1)
                places = np.append(self._level[pair][label, one, two], numbers)
            flat = table.transpose(1, 0, 2, 3).reshape(len(places), -1)
            self._gram[pair][np.ix_(places, places)] += flat @ flat.T
            self._side[pair][places] += flat @ wanted

    def solve(self) -> tuple[FloatArray, FloatArray]:
        """Return levels and fields, see `ElementForm`."""
        n_species, n_shells = self._layout.n_species, len(self._layout.common_ls)
        levels = np.zeros((n_species, n_shells, n_shells))
        fields = np.zeros((max(self._ls) + 1, max(self._ls) + 1, n_species, n_shells))
        for (l1, l2), gram in self._gram.items():
            weights = np.full(len(gram), _OF_LEVELS)
            weights[: self._n_added] = _OF_FIELDS
            weights[self._n_fields : self._n_added] *= _COMMON
            found = solved(gram, self._side[l1, l2], weights)
            for (label, one, two), number in self._level[l1, l2].items():
                levels[label, one, two] = levels[label, two, one] = found[number]
            common = dict(zip(self._ls, found[self._n_fields : self._n_added], strict=True))
            for (label, shell), number in self._field.items():
                own = common[self._layout.common_ls[shell]]
                fields[l1, l2, label, shell] = found[number] + own
        return levels, fields
