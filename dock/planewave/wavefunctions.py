"""``wfc*.dat`` and ``wfc*.hdf5``: the states of a run, and what a basis leaves of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe import PlaneWaveRun
from dock.core.arrays import frozen
from dock.core.basis import Basis
from dock.core.harmonics import real_harmonics
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError, SolverError
from dock.io.binary import open_records
from dock.io.hdf5 import open_hdf5
from dock.io.refusal import Refusal
from dock.overlap.radial import Function, QGrid, radial_of, transform
from dock.units import QE

__all__ = ["PlaneWaveStates", "basis_waves", "read_states", "spillage"]

_FIX = "pw.x was still writing, or the file was cut: copy it again."
_TABLE_STEP = 0.02  # 1/Å
_PREFIX = {Spin.NONE: ("wfc",), Spin.COLLINEAR: ("wfcup", "wfcdw"), Spin.NONCOLLINEAR: ("wfc",)}
_LARGEST = 10**9


@dataclass(frozen=True, eq=False)
class PlaneWaveStates:
    """All states of a run at one k-point: ψ(r) = Ω^(−1/2) Σ_G c(G) exp(i(k + G)·r).

    Parameters
    ----------
    k
        (3,) 1/Bohr, Cartesian.
    reciprocal
        (3, 3) reciprocal lattice vectors as rows, 1/Bohr.
    miller
        (n, 3) integer coordinates of G.
    coefficients
        (n_bands, n_components, n): two components, up and down, of spinors.

    Raises
    ------
    LayoutError
        When shapes disagree or numbers are not finite.
    """

    k: NDArray[np.float64]
    reciprocal: NDArray[np.float64]
    miller: NDArray[np.int32]
    coefficients: NDArray[np.complex128]

    def __post_init__(self) -> None:
        miller = frozen("miller", self.miller, np.int32, (None, 3))
        checked = {
            "k": frozen("k", self.k, np.float64, (3,)),
            "reciprocal": frozen("reciprocal", self.reciprocal, np.float64, (3, 3)),
            "miller": miller,
            "coefficients": frozen(
                "coefficients", self.coefficients, np.complex128, (None, None, len(miller))
            ),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def vectors(self) -> NDArray[np.float64]:
        """(n, 3) k + G, 1/Bohr."""
        return self.k + self.miller @ self.reciprocal


def read_states(save: Path, spin: Spin, number: int, channel: int = 0) -> PlaneWaveStates:
    """Read the states of one k-point, by its number from 0, of a ``.save`` folder.

    `spin` is that of the run; channel 1 has the states of spin down.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is cut or contradicts itself, or there are two of both builds of pw.x.
    """
    stem = f"{_PREFIX[spin][channel]}{number + 1}"
    found = [file for end in (".dat", ".hdf5") if (file := save / f"{stem}{end}").is_file()]
    if not found:
        raise MissingDataError(
            f"{stem}.dat or {stem}.hdf5",
            save,
            "pw.x keeps its states with disk_io = 'low' or more; it writes .hdf5 where it was "
            "built with HDF5. The bands alone are compared without --quality.",
        )
    if len(found) > 1:
        raise FormatError(
            found[1], f"the states of this k-point are in {found[0].name}, too",
            expected="one of them: a pw.x built with HDF5 writes .hdf5, one without .dat",
            fix="Delete the one that is of an earlier run.",
        )  # fmt: skip
    path = found[0]
    try:
        return _from_hdf5(path) if path.suffix == ".hdf5" else _from_dat(path)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), fix=_FIX) from error


def _from_dat(path: Path) -> PlaneWaveStates:
    with open_records(path, "<", Refusal("pw.x", _FIX, _FIX)) as records:
        head = records.record("the k-point", 44)
        k, gamma_only = records.split(head[4:28], "f8"), bool(records.split(head[32:36], "i4")[0])
        _, n_waves, n_components, n_bands = records.numbers("i4", 4, "the sizes").tolist()
        reciprocal = records.numbers("f8", 9, "the reciprocal vectors").reshape(3, 3)
        counts = {"components": n_components, "plane waves": n_waves, "bands": n_bands}
        if n_components not in (1, 2) or min(n_waves, n_bands) < 1 or n_waves > _LARGEST:
            raise FormatError(path, "the header cannot be right", found=counts, fix=_FIX)
        miller = records.numbers("i4", 3 * n_waves, "the Miller indices").reshape(-1, 3)
        length = n_waves * n_components
        states = np.stack([records.numbers("c16", length, f"band {n + 1}") for n in range(n_bands)])
    shape = (n_bands, n_components, n_waves)
    return _both_halves(k, reciprocal, miller, states.reshape(shape), gamma_only)


def _from_hdf5(path: Path) -> PlaneWaveStates:
    with open_hdf5(path, _FIX) as file:
        if "MillerIndices" not in file or "evc" not in file:
            raise FormatError(
                path, "datasets are missing", expected="MillerIndices, evc",
                found=", ".join(file) or "nothing",
            )  # fmt: skip
        indices = file["MillerIndices"]
        reciprocal = np.array([indices.attrs[f"bg{n}"] for n in (1, 2, 3)], dtype=np.float64)
        k = np.array(file.attrs["xk"], dtype=np.float64)
        n_components = int(file.attrs["npol"])
        word = file.attrs.get("gamma_only", b".FALSE.")
        miller = np.asarray(indices[()])
        states = np.asarray(file["evc"][()], dtype=np.float64).view(np.complex128)
    text = word.decode() if isinstance(word, bytes) else str(word)
    if n_components not in (1, 2) or states.shape[1] != n_components * len(miller):
        raise FormatError(
            path, "the states are not complete", found=f"{states.shape}", fix=_FIX,
            expected=f"{n_components} × {len(miller)} coefficients a band",
        )  # fmt: skip
    shape = (len(states), n_components, len(miller))
    return _both_halves(k, reciprocal, miller, states.reshape(shape), "TRUE" in text.upper())


def _both_halves(
    k: NDArray[Any], reciprocal: NDArray[Any], miller: NDArray[Any], states: NDArray[Any],
    gamma_only: bool,
) -> PlaneWaveStates:  # fmt: skip
    """Add the plane waves −G that a run at Γ alone does not store."""
    if gamma_only:
        other = np.any(miller, axis=1)
        miller = np.concatenate([miller, -miller[other]])
        states = np.concatenate([states, states[:, :, other].conj()], axis=2)
    return PlaneWaveStates(k, reciprocal, miller, states)


def basis_waves(
    structure: Structure, basis: Basis, vectors: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return ⟨φ_i|exp(iq·r)⟩ of every orbital of the cell, (n_orbitals, n), Å^(3/2).

    It is 4π i^l F(q) Y_lm(q̂) exp(iq·τ), F the Bessel transform of the radial function; `vectors`
    are the (n, 3) q, 1/Å.
    """
    from scipy.interpolate import CubicSpline

    length = np.linalg.norm(vectors, axis=1)
    grid = QGrid(_TABLE_STEP, int(np.ceil(float(length.max(initial=1.0)) / _TABLE_STEP)) + 2)
    away = np.where((length > 0)[:, None], vectors, [0.0, 0.0, 1.0])
    result = np.empty((basis.n_orbitals, len(vectors)), dtype=np.complex128)
    for label in basis.species:
        shells = basis.shells[label]
        tables = transform([Function(radial_of(s, label), s.l, s.l, 0) for s in shells], grid)
        parts = [
            4 * np.pi * 1j**s.l * CubicSpline(grid.q, table)(length) * real_harmonics(s.l, away).T
            for s, table in zip(shells, tables, strict=True)
        ]
        form = np.concatenate(parts)
        for atom in np.flatnonzero(np.array(basis.labels) == label):
            rows = slice(int(basis.offsets[atom]), int(basis.offsets[atom + 1]))
            result[rows] = form * np.exp(1j * (vectors @ structure.positions[atom]))
    return result


def spillage(run: PlaneWaveRun, overlap: AOMatrix) -> NDArray[np.float64]:
    """Return the part of every state of a run that its atomic orbitals cannot hold.

    ``1 − ⟨ψ|P|ψ⟩`` with ``P = Σ |φ_i⟩ S⁻¹_ij ⟨φ_j|``, the projector on the basis of `overlap`: 0
    where it is complete; (n_channels, n_k, n_bands). The ``wfc`` files are read one k-point at a
    time.

    Raises
    ------
    MissingDataError
        When there are no states.
    FormatError
        When they are damaged or not this run's.
    SolverError
        When the overlap is not positive definite.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    structure, save = run.structure, Path(run.source).parent
    builder = KBuilder(overlap)
    result = np.empty(run.levels.shape)
    for number, k_frac in enumerate(run.k_frac):
        try:
            factor = cho_factor(builder.dense(k_frac))
        except LinAlgError as error:
            raise SolverError(
                f"the overlap at k = {k_frac.tolist()} is not positive definite: the basis is "
                "linearly dependent."
            ) from error
        for channel in range(len(result)):
            states = read_states(save, run.spin, number, channel)
            _require_same(states, run, number)
            waves = basis_waves(structure, overlap.basis, states.vectors / QE.bohr_angstrom)
            amplitudes = states.coefficients @ waves.T / np.sqrt(structure.volume)
            flat = amplitudes.reshape(-1, amplitudes.shape[-1])
            inside = np.sum(flat.conj() * cho_solve(factor, flat.T).T, axis=1).real
            held = inside.reshape(amplitudes.shape[:2]).sum(axis=1)
            norms = np.sum(np.abs(states.coefficients) ** 2, axis=(1, 2))
            result[channel, number] = norms - held
    return result


def _require_same(states: PlaneWaveStates, run: PlaneWaveRun, number: int) -> None:
    """Refuse the states of another run."""
    expected = run.k_frac[number] @ run.structure.reciprocal * QE.bohr_angstrom
    components = 2 if run.spin is Spin.NONCOLLINEAR else 1
    shape = states.coefficients.shape
    if shape[:2] != (run.n_bands, components) or not np.allclose(states.k, expected, atol=1e-5):
        raise FormatError(
            Path(run.source).parent,
            f"the wave functions of k-point {number + 1} are not this run's",
            expected=f"{run.n_bands} bands, {components} components, k = {expected.round(6)}",
            found=f"{shape[0]} bands, {shape[1]} components, k = {states.k.round(6)}",
            fix="Copy the whole .save folder of one run.",
        )
