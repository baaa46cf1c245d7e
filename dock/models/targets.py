"""Blocks of a matrix as irreducible tensors, exactly and both ways (Wigner–Eckart).

Every atom is given the orbitals of one *common basis* (per l as many shells as the richest
species has); a block of a pair of atoms becomes a square of that size, padded with zeros. Spin is
split off first: O = Σ_μ O^μ ⊗ σ_μ with μ = 0, y, z, x, so that O⁰ is a scalar and (O^y, O^z, O^x)
an axial vector in spin space. The real *channels* of a block are

=============  ====================================================================
spin           channels
=============  ====================================================================
NONE           O
COLLINEAR      O_uu, O_dd
NONCOLLINEAR   Re O⁰, Re O^y, Re O^z, Re O^x, Im O⁰, Im O^y, Im O^z, Im O^x
with time      Re O⁰, Im O^y, Im O^z, Im O^x: the others vanish where no moment breaks the
reversal       symmetry, and leaving them out makes Kramers pairs exactly degenerate
=============  ====================================================================

The two channels of collinear spin may be learned one by one (`TargetLayout.per_spin`): spin is not
tied to space there, and each channel is one function of the structure and of the moments along its
own spin.

A part of l₁ ⊗ l₂ (⊗ 1) has the parity (−1)^(l₁+l₂); where that differs from (−1)^J it is a
pseudo-tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.core.arrays import FloatArray, IntArray, read_only
from dock.core.basis import Basis, shell_numbers, shell_starts
from dock.core.blocks import BlockLayout
from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.errors import LayoutError, UsageError
from dock.models.coupling import shell_product, spin_product
from dock.models.graph import Graph, by_kind

__all__ = ["INITIAL", "Irrep", "ProductGroup", "TargetLayout", "stacked"]

Blocks: TypeAlias = tuple[NDArray[Any], NDArray[Any]]

INITIAL = {"hamiltonian": ("hamiltonian0", "hamiltonian_init")}
"""What each quantity may be learned less of: H of superposed free atoms, under either name."""

_SAME_PLACE = 1e-4  # Å
_SLAB = 20_000  # pairs of a matrix made at a time, which bounds the memory
_EVEN_UNDER_TIME_REVERSAL = (0, 5, 6, 7)  # of the eight channels of spinors


class Irrep(NamedTuple):
    """One kind of irreducible part: how often it occurs in a block, and where it begins there."""

    J: int
    natural: bool
    multiplicity: int
    begin: int

    @property
    def place(self) -> slice:
        """Where its multiplicity · (2J + 1) numbers stand among the coupled ones."""
        return slice(self.begin, self.begin + self.multiplicity * (2 * self.J + 1))


class ProductGroup(NamedTuple):
    """All shell pairs (l₁, l₂) of the common basis, in one kind of spin channels.

    Attributes
    ----------
    place
        (n_pairs, d) where the entries of each shell pair stand in the flat
        (n_channels · n_common²) block.
    matrix
        (d, d) orthogonal: entries × matrix = parts.
    Js
        J of each part.
    natural
        Whether each part has the parity (−1)^J.
    """

    place: IntArray
    matrix: FloatArray
    Js: tuple[int, ...]
    natural: tuple[bool, ...]


def stacked(parts: Sequence[Blocks]) -> Blocks:
    """Return padded blocks of atoms and edges of one channel after another as those of all."""
    if len(parts) == 1:
        return parts[0]
    node, edge = (np.concatenate(blocks, axis=1) for blocks in zip(*parts, strict=True))
    return node, edge


@dataclass(frozen=True)
class TargetLayout:
    """What the outputs of a model are: species, shells, spin, and the common basis.

    Parameters
    ----------
    species
        Labels of the species, in the order that `Graph.species` refers to.
    ls
        Angular momenta of each species' shells in stored order.
    spin
        Spin treatment.
    quantity
        The operator that is learned; Hermitian.
    time_reversal
        For spinors: only the channels that time reversal allows.
    per_spin
        For collinear spin: both channels are one function of the structure and of the moments along
        their own spin, which `channel` describes (without spin, and with this set).
    less
        An operator that is known beforehand, such as the Hamiltonian of free atoms: what is learned
        is the quantity less this; see `with_known`.

    Raises
    ------
    UsageError
        For lists of different lengths, an operator that is not Hermitian, time reversal
        without spinors, or channels one by one of spinors.

    Examples
    --------
    >>> layout = TargetLayout(("O", "H"), ((0, 0, 1, 1, 2), (0, 0, 1)), Spin.NONE)
    >>> layout.common_ls, layout.n_common, layout.n_channels
    ((0, 0, 1, 1, 2), 13, 1)
    """

    species: tuple[str, ...]
    ls: tuple[tuple[int, ...], ...]
    spin: Spin
    quantity: str = "hamiltonian"
    time_reversal: bool = False
    per_spin: bool = False
    less: str = ""

    def __post_init__(self) -> None:
        facts = quantity_of(self.quantity)
        if len(self.species) != len(self.ls) or not self.species:
            raise UsageError("a target layout needs one list of shells for each species.")
        if facts.parity != 1 or facts.n_vector != 1:
            raise UsageError(f"the {facts.name} cannot be learned: it is no Hermitian scalar.")
        if self.time_reversal and self.spin is not Spin.NONCOLLINEAR:
            raise UsageError("time reversal concerns spinors only; this calculation has none.")
        if self.per_spin and (self.spin is Spin.NONCOLLINEAR or not facts.has_spin):
            raise UsageError("channels one by one are those of an operator with collinear spin.")
        if self.less and self.less not in INITIAL.get(facts.name, ()):
            raise UsageError(f"the {facts.name} cannot be learned less the {self.less}.")
        object.__setattr__(self, "quantity", facts.name)
        object.__setattr__(self, "species", tuple(self.species))
        object.__setattr__(self, "ls", tuple(tuple(int(l) for l in group) for group in self.ls))

    @classmethod
    def from_bases(
        cls,
        bases: Sequence[Basis],
        spin: Spin,
        *,
        quantity: str = "hamiltonian",
        time_reversal: bool = False,
    ) -> TargetLayout:
        """Collect the species of several structures.

        Raises
        ------
        LayoutError
            When a species has other shells in another structure.
        """
        known: dict[str, tuple[int, ...]] = {}
        for basis in bases:
            for label in basis.species:
                if known.setdefault(label, basis.ls(label)) != basis.ls(label):
                    raise LayoutError(
                        f"species '{label}' has the shells {known[label]} in one structure and "
                        f"{basis.ls(label)} in another: give the two kinds different labels."
                    )
        species = tuple(sorted(known))
        shells = tuple(known[label] for label in species)
        return cls(species, shells, spin, quantity, time_reversal)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` takes."""
        facts = {
            "species": list(self.species),
            "ls": [list(group) for group in self.ls],
            "spin": self.spin.value,
            "quantity": self.quantity,
            "time_reversal": self.time_reversal,
        }
        facts |= {"per_spin": True} if self.per_spin else {}  # as in files without it
        return facts | ({"less": self.less} if self.less else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetLayout:
        """Make a layout from what `to_dict` returned."""
        spin, reversal = Spin(data["spin"]), bool(data["time_reversal"])
        per_spin = bool(data.get("per_spin", False))
        less = str(data.get("less", ""))
        return cls(data["species"], data["ls"], spin, data["quantity"], reversal, per_spin, less)

    def fingerprint(self) -> str:
        """Return a hash of `to_dict`."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def require_basis(self, basis: Basis) -> None:
        """Refuse a structure with unknown species or other shells.

        Raises
        ------
        LayoutError
            Saying which species or shell does not fit.
        """
        for label in basis.species:
            wanted = self._shells.get(label)
            if wanted is None:
                raise LayoutError(
                    f"the model was not made for species '{label}'; it knows "
                    f"{', '.join(self.species)}."
                )
            if basis.ls(label) != wanted:
                raise LayoutError(
                    f"species '{label}' has shells l = {list(basis.ls(label))}; the model was "
                    f"made for {list(wanted)}. Use the basis of the training data."
                )

    def require_same_kind(self, other: TargetLayout) -> None:
        """Refuse targets of another operator or spin, or with species or shells that differ.

        Raises
        ------
        LayoutError
            Saying what differs.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        for name in ("quantity", "spin"):
            if mine[name] != theirs[name]:
                raise LayoutError(
                    f"the model was made for {name} '{mine[name]}', the data have "
                    f"'{theirs[name]}'. Use data of the same kind, or train anew."
                )
        for label, shells in other._shells.items():
            if self._shells.get(label) != shells:
                known = {name: list(ls) for name, ls in self._shells.items()}
                raise LayoutError(
                    f"the data have species '{label}' with the shells {list(shells)}; the model "
                    f"knows {known}. Train anew with all species."
                )

    @cached_property
    def _shells(self) -> dict[str, tuple[int, ...]]:
        """The l of the shells of each species."""
        return dict(zip(self.species, self.ls, strict=True))

    # ------------------------------------------------------------------ channels one by one

    @property
    def is_split(self) -> bool:
        """Whether there are two channels, which are learned one by one."""
        return self.per_spin and self.spin is Spin.COLLINEAR

    @cached_property
    def channel(self) -> TargetLayout:
        """What is learned: one spin channel, where they are learned one by one; else all of it."""
        return replace(self, spin=Spin.NONE) if self.is_split else self

    def graphs(self, graph: Graph) -> tuple[Graph, ...]:
        """Return the graphs whose blocks `channel` describes, one for each spin or one in all.

        Raises
        ------
        LayoutError
            When moments are needed that the graph lacks, or that do not lie along z.
        """
        return graph.of_spins if self.is_split else (graph,)

    def predicted(self, predict: Callable[[Graph], Blocks], graph: Graph) -> Blocks:
        """Return all channels of a graph's blocks by a function that returns those of `channel`."""
        return stacked([predict(own) for own in self.graphs(graph)])

    # ------------------------------------------------------------------ sizes

    @property
    def n_species(self) -> int:
        """Number of species."""
        return len(self.species)

    @cached_property
    def common_ls(self) -> tuple[int, ...]:
        """The l of the shells of the common basis, ascending."""
        lmax = max(max(group) for group in self.ls)
        counts = [max(group.count(l) for group in self.ls) for l in range(lmax + 1)]
        return tuple(l for l, count in enumerate(counts) for _ in range(count))

    @cached_property
    def n_common(self) -> int:
        """Number of orbitals of the common basis."""
        return sum(2 * l + 1 for l in self.common_ls)

    @property
    def n_channels(self) -> int:
        """Number of real squares that make up a block: 1, 2, 4 or 8."""
        return len(self.channel_signs)

    @property
    def n_block(self) -> int:
        """Numbers of one padded block, n_channels · n_common²."""
        return self.n_channels * self.n_common**2

    @cached_property
    def channel_signs(self) -> FloatArray:
        """(n_channels,) sign of each channel under (R, i, j) → (−R, j, i) with transposition."""
        if self.spin is not Spin.NONCOLLINEAR:
            return read_only(np.ones(self.spin.n_components))
        return read_only(np.repeat([1.0, -1.0], 4)[list(self._kept)])

    @property
    def _kept(self) -> Sequence[int]:
        """Which of the eight channels of spinors there are."""
        return _EVEN_UNDER_TIME_REVERSAL if self.time_reversal else range(8)

    @cached_property
    def slots(self) -> tuple[IntArray, ...]:
        """For each species, where its orbitals stand in the common basis."""
        starts = shell_starts(self.common_ls)
        slots = []
        for ls in self.ls:
            places = []
            for l, number in zip(ls, shell_numbers(ls), strict=True):
                begin = starts[self.common_ls.index(l) + number - 1]
                places.append(np.arange(begin, begin + 2 * l + 1))
            slots.append(read_only(np.concatenate(places)))
        return tuple(slots)

    @cached_property
    def node_mask(self) -> NDArray[np.bool_]:
        """(n_species, n_common, n_common) which entries of an on-site square exist."""
        return read_only(self.edge_mask[:: self.n_species + 1])

    @cached_property
    def edge_mask(self) -> NDArray[np.bool_]:
        """(n_species², n_common, n_common) which entries of a square exist for a pair."""
        own = np.zeros((self.n_species, self.n_common), dtype=bool)
        for index, slots in enumerate(self.slots):
            own[index, slots] = True
        both = own[:, None, :, None] & own[None, :, None, :]
        return read_only(both.reshape(self.n_species**2, self.n_common, self.n_common))

    # ------------------------------------------------------------------ irreps

    @cached_property
    def groups(self) -> tuple[ProductGroup, ...]:
        """The shell pairs by (l₁, l₂) and kind of spin channel."""
        channels = [(channel, False) for channel in range(self.n_channels)]
        if self.spin is Spin.NONCOLLINEAR:  # a scalar, then the three channels of a vector
            channels = [
                (first + own, own == 1) for first in range(0, self.n_channels, 4) for own in (0, 1)
            ]
        both = list(product(sorted(set(self.common_ls)), repeat=2))
        return tuple(
            self._group(l1, l2, channel, is_vector=is_vector)
            for channel, is_vector in channels
            for l1, l2 in both
        )

    def _group(self, l1: int, l2: int, channel: int, *, is_vector: bool) -> ProductGroup:
        """Return one group of shell pairs; of a vector `channel` is the first of three."""
        Js, matrix = spin_product(l1, l2) if is_vector else shell_product(l1, l2)
        n, starts = self.n_common, np.array(shell_starts(self.common_ls))
        rows, cols = (
            starts[np.equal(self.common_ls, l), None] + np.arange(2 * l + 1) for l in (l1, l2)
        )
        flat = rows[:, None, :, None] * n + cols[None, :, None, :]
        squares = (channel + np.arange(3 if is_vector else 1)) * n * n
        place = squares[:, None] + flat.reshape(-1, 1, (2 * l1 + 1) * (2 * l2 + 1))
        natural = tuple((J + l1 + l2) % 2 == 0 for J in Js)
        return ProductGroup(place.reshape(len(place), -1), matrix, Js, natural)

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        """The kinds of parts in the order in which coupled numbers stand: by J, natural first."""
        counts: Counter[tuple[int, bool]] = Counter()
        for group in self.groups:
            for kind in zip(group.Js, group.natural, strict=True):
                counts[kind] += len(group.place)
        irreps, begin = [], 0
        for J, natural in sorted(counts, key=lambda key: (key[0], not key[1])):
            irreps.append(Irrep(J, natural, counts[J, natural], begin))
            begin = irreps[-1].place.stop
        return tuple(irreps)

    @property
    def max_J(self) -> int:
        """The largest J among the outputs."""
        return self.irreps[-1].J

    @cached_property
    def _coupled_places(self) -> tuple[IntArray, ...]:
        """For each group, (n_pairs, d) where its parts stand in the coupled order."""
        begin = {(irrep.J, irrep.natural): irrep.begin for irrep in self.irreps}
        found = []
        for group in self.groups:
            columns = []
            for J, natural in zip(group.Js, group.natural, strict=True):
                width, count = 2 * J + 1, len(group.place)
                start = begin[J, natural]
                begin[J, natural] += width * count
                columns.append(start + np.arange(count * width).reshape(count, width))
            found.append(read_only(np.concatenate(columns, axis=1)))
        return tuple(found)

    @cached_property
    def uncoupling(self) -> tuple[IntArray, IntArray]:
        """Permutations (n_block,) before and after the small products that turn parts into blocks.

        The first takes the coupled numbers into the order of `groups` (pair by pair), the second
        the products, group behind group, into the flat padded block.
        """
        before = np.concatenate([place.reshape(-1) for place in self._coupled_places])
        order = np.concatenate([group.place.reshape(-1) for group in self.groups])
        return read_only(before), read_only(np.argsort(order))

    def couple(self, blocks: FloatArray) -> FloatArray:
        """Turn padded blocks (..., n_channels, n_common, n_common) into parts (..., n_block)."""
        flat = blocks.reshape(*blocks.shape[:-3], self.n_block)
        result = np.empty(flat.shape)
        for group, place in zip(self.groups, self._coupled_places, strict=True):
            result[..., place] = flat[..., group.place] @ group.matrix
        return result

    def uncouple(self, parts: FloatArray) -> FloatArray:
        """Turn parts (..., n_block) into padded blocks; the inverse of `couple`."""
        result = np.empty(parts.shape)
        for group, place in zip(self.groups, self._coupled_places, strict=True):
            result[..., group.place] = parts[..., place] @ group.matrix.T
        n = self.n_common
        return result.reshape(*parts.shape[:-1], self.n_channels, n, n)

    # ------------------------------------------------------------------ matrices

    def labels(self, matrix: AOMatrix, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return the padded blocks of a matrix on a graph; pairs that it lacks give zeros.

        Returns
        -------
        node : ndarray
            (n_atoms, n_channels, n_common, n_common) on-site blocks, float64.
        edge : ndarray
            (n_edges, n_channels, n_common, n_common).

        Raises
        ------
        LayoutError
            When the matrix has pairs that the graph lacks, another spin or other shells.
        """
        self.require_basis(matrix.basis)
        if matrix.facts.has_spin and matrix.spin is not self.spin:
            raise LayoutError(
                f"the {matrix.quantity} has spin '{matrix.spin.value}', the model "
                f"'{self.spin.value}'."
            )
        pairs = graph.full_pairs
        if matrix.pairs.is_same(pairs):
            found: IntArray = np.arange(len(pairs))
        else:
            outside = np.flatnonzero(pairs.find(matrix.pairs.R, matrix.pairs.i, matrix.pairs.j) < 0)
            if len(outside):
                raise LayoutError(
                    f"the {matrix.quantity} has {len(outside)} pairs that the graph lacks, such as "
                    f"{matrix.pairs.describe(int(outside[0]))}."
                )
            found = matrix.pairs.find(pairs.R, pairs.i, pairs.j)
        blocks = self._padded(matrix, graph, found)
        return blocks[: graph.n_atoms], blocks[graph.n_atoms :]

    def _padded(self, matrix: AOMatrix, graph: Graph, found: IntArray) -> FloatArray:
        """Return all blocks of the graph's full pattern; `found` is −1 where there is none."""
        entries, starts = self._to_channels(matrix), matrix.layout.starts
        size, n_channels, n = len(found), len(entries), self.n_common
        flat = np.zeros((size, n_channels, n * n))
        for members, cells in self._kinds(graph, slice(None)):
            have = members[found[members] >= 0]
            source = starts[found[have]][:, None] + np.arange(len(cells))
            values = entries[:, source].transpose(1, 0, 2)
            flat[have[:, None, None], np.arange(n_channels)[None, :, None], cells] = values
        return flat.reshape(size, n_channels, n, n)

    def _kinds(self, graph: Graph, slab: slice) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield for each pair of species its pairs in a slab of the full pattern, and its cells."""
        pairs = graph.full_pairs
        code = graph.species[pairs.i[slab]] * self.n_species + graph.species[pairs.j[slab]]
        for kind, members in by_kind(code):
            yield members, self._cells[kind]

    def _to_channels(self, matrix: AOMatrix) -> FloatArray:
        """Return the entries as real channels (n_channels, n_entries)."""
        entries = matrix.entries
        if not matrix.facts.has_spin or self.spin is not Spin.NONCOLLINEAR:
            return entries.astype(np.float64, copy=False)
        uu, ud, du, dd = entries.astype(np.complex128, copy=False)
        parts = [(uu + dd) / 2, 1j * (ud - du) / 2, (uu - dd) / 2, (ud + du) / 2]
        channels = [part.real for part in parts] + [part.imag for part in parts]
        return np.stack([channels[number] for number in self._kept])

    def with_known(self, matrix: AOMatrix, known: AOMatrix | None) -> AOMatrix:
        """Return what was predicted with what it is less of, on the pairs of both.

        Raises
        ------
        UsageError
            When it is less of something and that is not given.
        LayoutError
            When that has another structure, spin or basis.
        """
        if not self.less:
            return matrix
        if known is None:
            raise UsageError(
                f"this model predicts what the {self.quantity} is beyond the {self.less}, that of "
                "superposed free atoms: pass initial=MATRIX (dock compute-overlap --quantities H0 "
                "makes it of the basis files)."
            )
        if not known.structure.is_close(matrix.structure, _SAME_PLACE):
            raise LayoutError(f"the {self.less} that was given is that of another structure.")
        return matrix + replace(known, quantity=self.quantity)

    def matrix(
        self, node: FloatArray, edge: FloatArray, graph: Graph, dtype: DTypeLike = np.float64
    ) -> AOMatrix:
        """Return the matrix of padded blocks, on `Graph.full_pairs`.

        Each pair of partners is averaged once, so that Hermiticity holds bit by bit.

        Parameters
        ----------
        node, edge
            As `labels` returns them; what lies in the padding is ignored.
        dtype
            Real type of the entries; spinors get the complex type of the same precision.
        """
        pairs, counts = graph.full_pairs, graph.basis.counts
        layout = BlockLayout(counts[pairs.i], counts[pairs.j])
        kind = np.dtype(dtype)
        if self.spin is Spin.NONCOLLINEAR:
            kind = np.result_type(kind, np.complex64)
        final = np.empty((self.spin.n_components, layout.n_entries), dtype=kind)
        for begin in range(0, len(pairs), _SLAB):
            slab = slice(begin, min(begin + _SLAB, len(pairs)))
            blocks = self._averaged(node, edge, graph, slab)
            for members, cells in self._kinds(graph, slab):
                target = layout.starts[begin + members][:, None] + np.arange(len(cells))
                values = blocks[members][:, :, cells].transpose(1, 0, 2)
                final[:, target] = self._from_channels(values)
        return AOMatrix(self.quantity, graph.structure, graph.basis, pairs, self.spin, final)

    def _averaged(
        self, node: FloatArray, edge: FloatArray, graph: Graph, slab: slice
    ) -> FloatArray:
        """Return flat float64 blocks of some of the full pattern, averaged with the adjoints."""
        n = graph.n_atoms
        atoms = slice(min(slab.start, n), min(slab.stop, n))
        edges = slice(max(slab.start - n, 0), max(slab.stop - n, 0))
        own = np.concatenate([node[atoms], edge[edges]]).astype(np.float64)
        other = np.concatenate([node[atoms], edge[graph.reverse[edges]]]).astype(np.float64)
        blocks = 0.5 * (own + self.channel_signs[:, None, None] * other.swapaxes(-1, -2))
        return blocks.reshape(len(own), self.n_channels, self.n_common**2)

    @cached_property
    def _cells(self) -> list[IntArray]:
        """For each ordered pair of species, which cells of the flat square it fills."""
        n = self.n_common
        return [
            (rows[:, None] * n + cols[None, :]).reshape(-1)
            for rows in self.slots
            for cols in self.slots
        ]

    def _from_channels(self, entries: FloatArray) -> NDArray[Any]:
        """Return stored components from real channels (n_channels, …)."""
        if self.spin is not Spin.NONCOLLINEAR:
            return entries
        channels = np.zeros((8, *entries.shape[1:]))
        channels[list(self._kept)] = entries
        scalar, along_y, along_z, along_x = channels[:4] + 1j * channels[4:]
        return np.stack(
            [scalar + along_z, along_x - 1j * along_y, along_x + 1j * along_y, scalar - along_z]
        )
