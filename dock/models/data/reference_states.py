"""The states of the references at a few k-points, in which errors of H are looked at.

An error ΔH that is small in the orbitals can be large between states: where S(k) has a small
eigenvalue s, orbitals combine to states with coefficients of 1/√s. C†ΔHC with the S-orthonormal
states C of the reference tells, to first order, how far each level moves, and it is linear in ΔH.

Far up, an error matters as far as it brings a state down. With E₀ the end of the window, the
prediction has no false state below E₀ as long as D ΔH D > −W between the empty states, where
D² = W / (W + ε − E₀); so that is how states above the window are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.converters import read
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import DockError, MissingDataError, UsageError
from dock.models.data.samples import find_samples
from dock.models.graph import Graph
from dock.models.options.train import States, TrainOptions
from dock.models.targets import TargetLayout
from dock.states.fermi_level import find_level
from dock.states.kmesh import make_mesh
from dock.states.memory import allowance, in_words
from dock.states.occupation import occupation_errors
from dock.states.smearing import Smearing
from dock.states.spectrum import compute_spectrum
from dock.states.stream import StatesAtK

__all__ = ["LevelErrors", "ReferenceStates", "StateArrays", "collect_states", "reference_states"]

_LONG = 16.0  # Å: along a longer lattice vector the bands hardly change over half the zone
_SCALE = 3.0  # eV: W above
_SHARE = 0.8  # of the memory that is left: batches need some, too
_TABLE = "[process.train.states]"

Arrays = dict[str, NDArray[Any]]


class LevelErrors(NamedTuple):
    """What a ΔH does to the levels of one structure.

    Attributes
    ----------
    low
        Mean deviation of the levels up to the end of the window, less the median deviation of the
        occupied ones, eV; None where there is none.
    n_ghosts
        False states, see `dock.states.occupation`.
    """

    low: float | None
    n_ghosts: int


class ReferenceStates(NamedTuple):
    """All states of one structure at its k-points.

    Attributes
    ----------
    points, weights
        (n_k, 3) fractional, and their shares of the zone.
    energies
        (n_channels, n_k, n_states), eV, absolute.
    vectors
        (n_channels, n_k, n_orbitals, n_states), S-orthonormal, real where all points are
        invariant under time reversal.
    fermi_level, top
        Fermi level and the end of the window above it, eV, absolute.
    overlap
        Hash of the overlap.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    energies: NDArray[np.float64]
    vectors: NDArray[Any]
    fermi_level: float
    top: float
    overlap: str

    def errors(self, projected: NDArray[Any]) -> LevelErrors:
        """Return the errors of the levels of H + ΔH, diagonalised in these states.

        `projected` (n_channels, n_k, n_states, n_states) is C†ΔHC, eV.
        """
        matrices = np.array(projected, np.complex128)
        numbers = np.arange(self.energies.shape[-1])
        matrices[..., numbers, numbers] += self.energies
        levels = np.linalg.eigvalsh(matrices).astype(np.float64)
        found = occupation_errors(levels, self.energies, self.fermi_level)
        deviation = (levels - self.energies)[self.low]
        mean = float(np.abs(deviation - found.shift).mean()) if deviation.size else None
        return LevelErrors(mean, found.n_ghosts)

    @property
    def low(self) -> NDArray[np.bool_]:
        """(n_channels, n_k, n_states) which states lie below the end of the window."""
        return self.energies <= self.top

    @property
    def scale(self) -> NDArray[np.float64]:
        """(n_channels, n_k, n_states) D: 1 in the window, less above."""
        above = np.maximum(self.energies - self.top, 0.0)
        return np.sqrt(_SCALE / (_SCALE + above))


def reference_states(calc: Calculation, options: States) -> ReferenceStates:
    """Diagonalise a reference on its mesh.

    Raises
    ------
    MissingDataError
        Without overlap, or without electrons and Fermi level.
    SolverError
        When S(k) is not positive definite.
    """
    for name in ("hamiltonian", "overlap"):
        calc.require(name, "The second stage, [process.train.states], looks at its states.")
    axes = [calc.require(name).pairs.periodic_axes for name in ("hamiltonian", "overlap")]
    lengths = np.linalg.norm(calc.structure.cell, axis=1)
    several = np.any(axes, axis=0) & (lengths <= _LONG) & (not calc.only_gamma)
    size = tuple(int(n) if more else 1 for n, more in zip(options.kmesh, several, strict=True))
    mesh = make_mesh(calc, size, reduction="time-reversal")
    found: dict[tuple[int, int], NDArray[Any]] = {}

    def keep(at: StatesAtK) -> None:
        if at.states.vectors is not None:
            found[at.channel, at.number] = at.states.vectors

    spectrum = compute_spectrum(calc, mesh, visit=keep)
    if calc.n_electrons is not None:
        level = find_level(spectrum, calc.n_electrons, Smearing())[0]
    elif calc.fermi_level is not None:
        level = calc.fermi_level
    else:
        raise MissingDataError(
            "the number of electrons",
            calc.source,
            "The second stage, [process.train.states], tells occupied states from empty ones. "
            "Write 'occupation' or 'fermi_energy_eV' into info.json.",
        )
    channels, points = range(len(spectrum.energies)), range(mesh.n_points)
    vectors = np.stack([np.stack([found[channel, k] for k in points]) for channel in channels])
    digest = calc.require("overlap").digest()
    return ReferenceStates(
        mesh.points, mesh.weights, spectrum.energies, vectors, level, level + options.window, digest
    )


def collect_states(
    options: TrainOptions, layout: TargetLayout, numbers: Mapping[str, int], needed: Sequence[str]
) -> dict[int, ReferenceStates]:
    """Return the states of those structures that are small enough, by number.

    Parameters
    ----------
    options, layout
        Where the structures lie, what is wanted, and the targets.
    numbers
        Names of the structures and their numbers in a store.
    needed
        Names of structures of which some must be small enough.

    Raises
    ------
    UsageError
        When the targets have no such states, those of a structure cannot be found, all are too
        large, or their states have no room in the memory.
    """
    wanted = options.process.train.states
    _require_states(layout)
    found: dict[int, ReferenceStates] = {}
    samples = [one for one in find_samples(options.data.inputs_dir) if one.name in numbers]
    calcs = {sample.name: read(sample.folder, format="deeph") for sample in samples}
    small = {
        name: calc for name, calc in calcs.items() if calc.basis.n_orbitals <= wanted.max_orbitals
    }
    _require_room(small.values(), wanted)
    for name, calc in small.items():
        try:
            found[numbers[name]] = reference_states(calc, wanted)
        except DockError as error:
            raise UsageError(f"{_TABLE}: {name}: {error}") from error
        finally:
            calc.release()
    if not any(numbers[name] in found for name in needed):
        raise UsageError(
            f"{_TABLE}: all structures to train on have more than max_orbitals = "
            f"{wanted.max_orbitals} orbitals. Raise it, or leave the table out."
        )
    return found


def _require_room(calcs: Iterable[Calculation], wanted: States) -> None:
    """Refuse states that need more memory than this process may take, before one is solved for.

    Half of the k-points have complex vectors, or all of them real ones, by time reversal.
    """
    points = max(1, math.prod(wanted.kmesh) // 2)
    needed = sum(16 * points * calc.spin.n_channels * calc.basis.n_orbitals**2 for calc in calcs)
    room = allowance()
    if needed > _SHARE * room.n_bytes:
        raise UsageError(
            f"{_TABLE}: the states of all structures need about {in_words(needed)}, and there are "
            f"{room}. Lower max_orbitals (now {wanted.max_orbitals}) or kmesh."
        )


def _require_states(layout: TargetLayout) -> None:
    """Refuse targets of which no states are looked at."""
    if layout.quantity != "hamiltonian":
        raise UsageError(
            f"{_TABLE} looks at states of the Hamiltonian, but the {layout.quantity} is learned: "
            'write target_type = "H", or leave the table out.'
        )
    if layout.spin is Spin.NONCOLLINEAR:
        raise UsageError(
            f"{_TABLE} takes Hamiltonians without spin and with collinear spin, none of spinors: "
            "leave the table out."
        )
    if layout.is_split:
        raise UsageError(
            f"{_TABLE} does not go with channels that are learned one by one, as those of magnets "
            "with moments are: leave the table out."
        )


@dataclass(frozen=True, eq=False)
class StateArrays:
    """The states of the structures of a batch as arrays of one shape.

    Attributes
    ----------
    states
        Those of each structure that takes part, by its number in the store.
    layout
        The targets, whose padded blocks ΔH comes in.
    n_slots, n_atoms
        Structures that a batch has room for, and atoms of each.
    """

    states: Mapping[int, ReferenceStates]
    layout: TargetLayout
    n_slots: int
    n_atoms: int

    @classmethod
    def of(
        cls,
        states: Mapping[int, ReferenceStates],
        layout: TargetLayout,
        sizes: NDArray[np.int64],
        n_slots: int,
    ) -> StateArrays:
        """Take the largest structure as the measure; `sizes` are those of a store."""
        return cls(states, layout, n_slots, int(max(sizes[number, 0] for number in states)))

    @cached_property
    def is_complex(self) -> bool:
        """Whether any of the states is."""
        return any(np.iscomplexobj(own.vectors) for own in self.states.values())

    @cached_property
    def n_points(self) -> int:
        """Most k-points of a structure."""
        return max(len(own.points) for own in self.states.values())

    @cached_property
    def n_states(self) -> int:
        """Most states of a structure at a k-point."""
        return max(int(own.energies.shape[-1]) for own in self.states.values())

    @property
    def megabytes(self) -> float:
        """Memory of the states of all structures, MB."""
        return sum(own.vectors.nbytes for own in self.states.values()) / 1e6

    def facts(self) -> dict[str, Any]:
        """Return what ``dock train --check`` says."""
        return {
            "n_structures": len(self.states),
            "n_kpoints": [min(len(own.points) for own in self.states.values()), self.n_points],
            "n_states": [
                min(own.energies.shape[-1] for own in self.states.values()),
                self.n_states,
            ],
            "memory_MB": round(self.megabytes, 3),
        }

    def arrays(
        self,
        members: Sequence[int],
        graphs: Sequence[Graph],
        shape: tuple[int, int],
        dtype: DTypeLike,
    ) -> Arrays:
        """Return the arrays of a batch of such structures, padded to `shape` (atoms, edges).

        With S slots, A atoms of each, c channels, K points and M states:

        * ``state_vectors``, ``state_vectors_imag`` (S, c, K, A · n_common, M): C;
        * ``state_scale``, ``state_low``, ``state_high`` (S, c, K, M): D, and 1 for the states up to
          the end of the window and for those above it;
        * ``state_weight`` (S, K): of a k-point, 0 in empty places;
        * ``state_place`` (atoms + edges,): slot · A² + i · A + j of each block;
        * ``state_phase``, ``state_phase_imag`` (atoms + edges, K): exp(2πi k·R), 0 for blocks of
          no state.

        Without any complex states the arrays of imaginary parts are left out.
        """
        n, n_edges = shape
        S, A, K, M = self.n_slots, self.n_atoms, self.n_points, self.n_states
        c, width = self.layout.n_channels, self.layout.n_common
        vectors = np.zeros((S, c, K, A * width, M), np.complex128)
        scale, low, high = (np.zeros((S, c, K, M)) for _ in range(3))
        weight = np.zeros((S, K))
        place = np.zeros(n + n_edges, np.int32)
        phase = np.zeros((n + n_edges, K), np.complex128)
        atom, edge, slot = 0, n, 0
        for number, graph in zip(members, graphs, strict=True):
            own = self.states.get(number)
            if own is not None:
                k, m = len(own.points), own.energies.shape[-1]
                rows = self._rows(graph)
                vectors[slot, :, :k, rows, :m] = np.moveaxis(own.vectors, 2, 0)
                scale[slot, :, :k, :m], low[slot, :, :k, :m] = own.scale, own.low
                high[slot, :, :k, :m] = ~own.low
                weight[slot, :k] = own.weights
                atoms = slice(atom, atom + graph.n_atoms)
                edges = slice(edge, edge + graph.n_edges)
                place[atoms] = slot * A * A + np.arange(graph.n_atoms) * (A + 1)
                place[edges] = slot * A * A + graph.receiver * A + graph.sender
                phase[atoms, :k] = 1.0
                phase[edges, :k] = np.exp(2j * np.pi * (graph.pairs.R @ own.points.T))
                slot += 1
            atom, edge = atom + graph.n_atoms, edge + graph.n_edges
        arrays: Arrays = {
            "state_vectors": vectors.real,
            "state_scale": scale,
            "state_low": low,
            "state_high": high,
            "state_weight": weight,
            "state_phase": phase.real,
        }
        if self.is_complex:
            arrays |= {"state_vectors_imag": vectors.imag, "state_phase_imag": phase.imag}
        typed: Arrays = {name: np.ascontiguousarray(a, dtype) for name, a in arrays.items()}
        return typed | {"state_place": place}

    def _rows(self, graph: Graph) -> NDArray[np.int64]:
        """Return where the orbitals of a structure stand among padded ones."""
        slots, width = self.layout.slots, self.layout.n_common
        return np.concatenate(
            [atom * width + slots[kind] for atom, kind in enumerate(graph.species.tolist())]
        )
