"""The parameters of elements on site: levels, and the weights of neighbours' shells."""

from __future__ import annotations

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
        self._n_shells = len(layout.common_ls)
        self._n_levels = layout.n_species * self._n_shells**2
        self._n_fields = layout.n_species * self._n_shells
        self._n_common = len(set(layout.common_ls))
        size = self._n_levels + self._n_fields + self._n_common
        self._size = size
        self._gram = {pair: np.zeros((size, size)) for pair in l_pairs(layout)}
        self._side = {pair: np.zeros(size) for pair in l_pairs(layout)}

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
        of_l = np.zeros((self._n_common, part.n_atoms, layout.n_common, layout.n_common))
        ls = sorted(set(layout.common_ls))
        for other in np.unique(sender).tolist():
            here = np.flatnonzero(sender == other)
            rows = part.receiver[here]
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            for shell in np.unique(self._shells[layout.slots[other]]).tolist():
                own = overlap[here][:, :, self._shells == shell]
                sums = np.zeros((part.n_atoms, layout.n_common, layout.n_common))
                sums[rows[starts]] = np.add.reduceat(own @ own.swapaxes(1, 2), starts, axis=0)
                numbers.append(self._n_levels + other * self._n_shells + shell)
                added.append(sums)
                of_l[ls.index(layout.common_ls[shell])] += sums
        numbers += range(self._n_levels + self._n_fields, self._size)
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
        own = np.unique(self._shells[self._layout.slots[label]])
        ls = np.array(self._layout.common_ls)
        for one in own[ls[own] == pair[0]].tolist():
            for two in own[ls[own] == pair[1]].tolist():
                if pair[0] == pair[1] and two < one:
                    continue
                cells = np.ix_(self._shells == one, self._shells == two)
                wanted = blocks[:, cells[0], cells[1]].reshape(-1)
                table = added[:, :, cells[0], cells[1]]
                places = numbers
                if pair[0] == pair[1]:
                    level = np.broadcast_to(
                        np.eye(table.shape[-1]), (len(table), 1, *table.shape[2:])
                    )
                    table = np.concatenate([level, table], axis=1)
                    places = np.append(
                        (label * self._n_shells + one) * self._n_shells + two, places
                    )
                flat = table.transpose(1, 0, 2, 3).reshape(len(places), -1)
                self._gram[pair][np.ix_(places, places)] += flat @ flat.T
                self._side[pair][places] += flat @ wanted

    def solve(self) -> tuple[FloatArray, FloatArray]:
        """Return levels and fields, see `ElementForm`."""
        layout, n_shells, n = self._layout, self._n_shells, self._layout.n_species
        ls = sorted(set(layout.common_ls))
        levels = np.zeros((n, n_shells, n_shells))
        fields = np.zeros((max(ls) + 1, max(ls) + 1, n, n_shells))
        places = np.array([ls.index(l) for l in layout.common_ls])
        end = self._n_levels + self._n_fields
        weights = np.full(self._size, _OF_FIELDS)
        weights[: self._n_levels] = _OF_LEVELS
        weights[end:] *= _COMMON
        for (l1, l2), gram in self._gram.items():
            found = solved(gram, self._side[l1, l2], weights)
            if l1 == l2:
                own = found[: self._n_levels].reshape(n, n_shells, n_shells)
                levels += own + np.triu(own, 1).swapaxes(1, 2)
            fields[l1, l2] = found[self._n_levels : end].reshape(n, n_shells) + found[end:][places]
        return levels, fields
