"""Sums over meshes of k-points: in parts that are kept as they are done, and on half the mesh too.

The eigenproblems of a mesh are cut into at most 256 parts, always the same ones. The sum of each
part is stored when it is done, so that a run that is killed goes on from there to the same bits,
shards and processes of MPI share the parts, and memory does not grow with the mesh. Of an even
Γ-centred mesh every second point is the mesh of half the size: its sum costs nothing, and says how
far the result is from converged.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.io.progress import Progress, Report
from dock.response.kdata import KData, each
from dock.response.operators import Operators
from dock.states.job import Job, PartDone
from dock.states.kept import Kept
from dock.states.kmesh import KMesh
from dock.states.solver import Solver

__all__ = ["MeshSum", "half_weights", "mesh_sum"]

Terms = Mapping[str, NDArray[Any]]

_PARTS = 256
_FEW = 32  # parts that there are at least, as far as there are points
_SMALL = 3_000_000  # rows³ times points of a part
_PATIENCE = 20  # seconds: file systems of clusters show a file late


@dataclass(frozen=True, eq=False)
class MeshSum:
    """Σ_k w_k f(k) of each spin channel, with Σ w_k = 1, and the same on half the mesh.

    Attributes
    ----------
    whole
        By name, (n_channels, …).
    half
        The same on every second point along each axis with more than one; None where the mesh has
        no such half: an odd number of points, or a shift.
    """

    whole: dict[str, NDArray[Any]]
    half: dict[str, NDArray[Any]] | None


def half_weights(mesh: KMesh) -> NDArray[np.float64] | None:
    """Return the weights of the mesh's points in the mesh of half the size; None without one.

    Examples
    --------
    >>> half_weights(KMesh.full((2, 1, 1))).tolist()
    [1.0, 0.0]
    """
    size = np.array(mesh.size)
    if np.any(np.mod(mesh.shift, 1.0)) or np.any((size > 1) & (size % 2 > 0)) or mesh.n_full == 1:
        return None
    steps = np.where(size > 1, 2, 1)
    # Points are n + shift: with a shift of whole steps the first point need not be Γ.
    offset = np.mod(-np.rint(mesh.shift).astype(int), steps)
    numbers = np.arange(mesh.n_full).reshape(mesh.size)
    chosen = numbers[tuple(slice(o, None, s) for o, s in zip(offset, steps, strict=True))].ravel()
    weights = np.bincount(mesh.index[chosen], minlength=mesh.n_points) / len(chosen)
    return weights.astype(np.float64)


def mesh_sum(
    operators: Operators,
    mesh: KMesh,
    function: Callable[[KData], Terms],
    words: str,
    *,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> MeshSum:
    """Sum a function of the k-point data over a mesh.

    Parameters
    ----------
    function
        Arrays by name for one k-point and channel, of the same shapes everywhere. It runs in the
        threads that solve.
    words
        Everything that the function depends on beside H, S and positions (quantity, energies,
        broadening, levels): sums that are kept are found again by it.

    Raises
    ------
    Pause
        Where a job ends before its result; errors are those of `dock.states.stream.states`.

    Notes
    -----
    With a mesh that is reduced by symmetry the sums are those of its irreducible points; what
    transforms as a tensor is averaged over the operations afterwards (`dock.response.tensors`).
    """
    job = Job.of(solver)
    task = _Sum(operators, mesh, function, jobs, s_threshold)
    if job.dry_run:
        list(each(operators, mesh.points, function, solver=job, jobs=jobs, s_threshold=s_threshold))
    about = hashlib.blake2b(digest_size=8)
    # Derivatives by k are lengths of the cell, of which H and S know nothing.
    for array in (mesh.points, mesh.weights, operators.structure.cell):
        about.update(np.ascontiguousarray(array).tobytes())
    positions = "" if operators.midpoint is None else operators.midpoint.digest()
    settings = (words, mesh.size, about.hexdigest(), positions, s_threshold, job.removal)
    kept = job.store_sum(operators.problem, repr(settings))
    try:
        return task.total(job, kept, Progress.of(progress))
    finally:
        if kept is not None:
            kept.close()


@dataclass(frozen=True, eq=False)
class _Sum:
    """The eigenproblems of a mesh in parts."""

    operators: Operators
    mesh: KMesh
    function: Callable[[KData], Terms]
    jobs: int | None
    s_threshold: float | None

    @property
    def _per_channel(self) -> int:
        n, size = self.mesh.n_points, self.operators.problem.size
        # Several points of small matrices make a part: writing one takes as long as solving them.
        together = min(16, max(1, _SMALL // size**3))
        return min(n, max(_FEW, n // together), max(1, _PARTS // self.operators.n_channels))

    @property
    def n_parts(self) -> int:
        """Number of parts of all channels."""
        return self._per_channel * self.operators.n_channels

    def _points(self, number: int) -> NDArray[np.int64]:
        """Return the k-points of a part: as many apart as there are parts.

        So they are dealt to processes as single k-points are, and each finds again those that it
        has solved for (`dock.states.remembered`).
        """
        per_channel = self._per_channel
        return np.arange(number % per_channel, self.mesh.n_points, per_channel)

    def total(self, job: Job, kept: Kept | None, progress: Progress) -> MeshSum:
        """Return the sum of all parts, in their order."""
        progress.start(self.mesh.n_points * self.operators.n_channels)
        if job.is_shared and kept is not None:
            self._do_own(job, kept, progress)
        missing = []
        for number in range(self.n_parts):
            if kept is None or kept.get_arrays(number) is None:
                missing.append(number)
            elif not job.is_shared:  # what others did was not waited for
                progress.skip(len(self._points(number)))
        rest = Progress() if job.is_shared else progress  # all was counted as it was done
        return self._added(self._in_order(missing, job, kept, rest))

    def _in_order(
        self, missing: list[int], job: Job, kept: Kept | None, progress: Progress
    ) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        """Yield all parts by their numbers: those that are kept, and the missing ones as made."""
        made, absent = self.parts(missing, _plain(job), progress), set(missing)
        for number in range(self.n_parts):
            if number not in absent and kept is not None:
                yield number, kept.get_arrays(number) or {}
                continue
            _, terms = next(made)
            if kept is not None:
                kept.put_arrays(number, terms)
            yield number, terms

    def _do_own(self, job: Job, kept: Kept, progress: Progress) -> None:
        """Do the parts of this process; `PartDone` unless those of the others are there."""
        shard, shards = job.shard or (0, 1)
        mine = list(range(self.n_parts))[shard::shards]
        missing = [(number, 0) for number in mine if kept.get_arrays(number) is None]
        own = [number for number, _ in job.own(missing)]
        for number, terms in self.parts(own, _plain(job), progress):
            kept.put_arrays(number, terms)
        kept.flush()
        job.ranks.barrier()
        for _ in range(_PATIENCE):
            kept.refresh()
            if all(kept.get_arrays(number) is not None for number in mine):
                break
            time.sleep(1)
        if len(kept) < self.n_parts and job.shard is not None:
            raise PartDone(job, len(kept), self.n_parts)

    def parts(
        self, numbers: Sequence[int], solver: Job, progress: Progress
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Yield some parts, one channel's after the other's, in one stream of states each."""
        per_channel = self._per_channel
        half = half_weights(self.mesh)
        for channel in range(self.operators.n_channels):
            mine = [n for n in numbers if n // per_channel == channel]
            lists = [self._points(n) for n in mine]
            if not mine:
                continue
            stream = each(
                self.operators.channels[channel],
                self.mesh.points[np.concatenate(lists)],
                self.function,
                solver=solver,
                jobs=self.jobs,
                progress=progress.part(),
                s_threshold=self.s_threshold,
            )
            for number, points in zip(mine, lists, strict=True):
                total: dict[str, NDArray[Any]] = {}
                for point in points:
                    for name, term in next(stream).items():
                        _add(total, name, term, self.mesh.weights[point])
                        if half is not None:
                            _add(total, f"half {name}", term, half[point])
                yield number, total

    def _added(self, parts: Iterator[tuple[int, Mapping[str, NDArray[Any]]]]) -> MeshSum:
        """Add the parts of each channel as they come, so that two are held at a time."""
        per_channel = self._per_channel
        sums: list[dict[str, NDArray[Any]]] = [{} for _ in range(self.operators.n_channels)]
        for number, terms in parts:
            for name, term in terms.items():
                _add(sums[number // per_channel], name, term)
        stacked = {name: np.stack([total[name] for total in sums]) for name in sums[0]}
        whole = {name: array for name, array in stacked.items() if not name.startswith("half ")}
        half = {name[5:]: array for name, array in stacked.items() if name.startswith("half ")}
        return MeshSum(whole, half or None)


def _plain(job: Job) -> Job:
    """Return how a job solves, without what is kept and shared: that is done part by part here."""
    return Job(job.solver, removal=job.removal)


def _add(total: dict[str, NDArray[Any]], name: str, term: NDArray[Any], weight: float = 1) -> None:
    """Add a term times a weight; what a name stands for is an array of its own."""
    if name not in total:
        total[name] = weight * term
    elif weight:
        total[name] += weight * term
