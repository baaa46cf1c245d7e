"""Transitions between filled and empty states, by their energies; linear spectra are made of them.

Of each pair of states with energies E_m < E_n and occupations f the tensor

    w_ab = (f_m − f_n) r^a_mn r^b_nm        Å²,   r_mn = i v_mn / (E_n − E_m)

is added to the nodes about the energy Δ = E_n − E_m, with Lagrange's weights of six neighbours.
A sum over pairs of w(Δ) G(Δ), with any smooth G, is then one over nodes. Nodes are η/10 apart, so
that a resonance of width η is met to 4e-6 of its height by a single pair, and better by many;
beyond a border they are even in 1/Δ, and reach to infinity. So a spectrum does not cost pairs times
energies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.response.filling import MeshFilling
from dock.response.kdata import DEGENERATE, KData
from dock.response.tensors import averaged
from dock.states.kmesh import KMesh

__all__ = ["LEAST_BORDER", "Nodes", "Transitions", "quantised", "require_energies"]

LEAST_BORDER = 15.0
"""Energy of transitions, eV, up to which they are broadened, whatever energies are asked for."""

_PER_WIDTH = 10  # nodes in η
_N_FAR = 48
_MOST = 400_000
_CHUNK = 1 << 21  # complex numbers of a temporary array: 32 MB


@dataclass(frozen=True)
class Nodes:
    """The energies that transitions are added to.

    Attributes
    ----------
    step, n_near
        Distance of the near nodes, eV, and the number of steps to the border.
    eta
        Broadening, eV: the half width of a line at half its height.
    """

    step: float
    n_near: int
    eta: float

    @classmethod
    def of(cls, energies: NDArray[np.float64], eta: float, border: float | None = None) -> Nodes:
        """Return the nodes for spectra at some energies, eV.

        `border` is the transition energy up to which lines are broadened; default one and a half
        times the highest energy, and at least 15 eV.
        """
        highest = float(energies[-1])
        if border is None:
            border = max(LEAST_BORDER, 1.5 * highest)
        if not border > highest:
            raise UsageError(
                f"transitions are broadened up to {border:g} eV, which must lie above the highest "
                f"energy, {highest:g} eV."
            )
        if not border < np.inf:
            raise UsageError("transitions are broadened up to a finite energy, eV.")
        count = int(np.ceil(border / eta * _PER_WIDTH))
        if count > _MOST:
            raise UsageError(
                f"eta={eta:g} eV is too small for energies up to {border:g} eV: their resonances "
                f"would need {count} nodes. Pass at least eta={border / _MOST * _PER_WIDTH:.1g}."
            )
        return cls(eta / _PER_WIDTH, count, eta)

    @property
    def border(self) -> float:
        """The last near energy, eV: lines beyond it are not broadened."""
        return self.step * self.n_near

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of what pairs are added to."""
        return self.n_near + 6 + _N_FAR + 6, 10

    @property
    def near(self) -> NDArray[np.float64]:
        """Energies of the near nodes, eV; the first two are negative."""
        return self.step * np.arange(-2.0, self.n_near + 4)

    def response(
        self,
        energies: NDArray[np.float64],
        symmetric: NDArray[np.float64],
        turning: NDArray[np.float64],
        excess: NDArray[np.float64] | float = 0.0,
    ) -> NDArray[np.complex128]:
        """Return Σ (2Δ w + 2i (Δ²/z) w')/(Δ² − z²) − 2i excess/z over the nodes, (n, 3, 3).

        w and w' are the symmetric and the antisymmetric part (nodes, 3, 3) of the transitions;
        z = ω + iη up to the border. Far from resonance a broadening has no meaning: z = ω there.
        The second term is that of the current. Polarisation between bands alone has z in place of
        Δ²/z and lacks 2i/z Σ w', the anomalous Hall effect: what of Σ w' is none is the `excess`.
        """
        near = self.near
        x = np.arange(-2.0, _N_FAR + 4)[:, None] / _N_FAR  # border / Δ
        w, turned = (part.reshape(len(part), 9) for part in (symmetric, turning))
        n, real = len(near), energies[:, None]
        z = real + 1j * self.eta
        resonance = 2 / (near**2 - z**2)
        total: NDArray[Any] = resonance @ (near[:, None] * w[:n])
        total += 1j / z * (resonance @ (near[:, None] ** 2 * turned[:n]))
        far = 2 / (self.border**2 - (real * x[:, 0]) ** 2)
        total += far @ (x * self.border * w[n:])
        total += 1j / z * (far @ (self.border**2 * turned[n:]))
        total = total.reshape(-1, 3, 3)
        total -= 2j / z[:, :, None] * excess
        return total


@dataclass(frozen=True, eq=False)
class Transitions:
    """A function for sums over a mesh: the transitions of a k-point, and the Drude weight.

    With `weighted` False the pairs alone are counted, which needs no positions.
    """

    nodes: Nodes
    filling: MeshFilling
    weighted: bool = True

    def __call__(self, at: KData) -> dict[str, NDArray[Any]]:
        """Return the transitions (nodes, 10) of a k-point; of a metal the Drude weight (3, 3)."""
        from dock.response._transition_kernels import add_transitions

        energies = at.energies
        filled = self.filling.occupations(energies)
        lower, upper = self.filling.sides(filled)
        out = np.zeros(self.nodes.shape)
        sizes = lower.stop - lower.start, upper.stop - upper.start
        velocity = np.zeros((*sizes, 3), dtype=np.complex128)
        if self.weighted and min(sizes):
            velocity = np.ascontiguousarray(np.moveaxis(at.velocity(lower, upper), 0, -1))
        about = energies[lower], energies[upper], filled[lower], filled[upper], velocity
        nodes = self.nodes
        add_transitions(*about, DEGENERATE, nodes.step, nodes.border, _N_FAR, out)
        terms: dict[str, NDArray[Any]] = {"transitions": out}
        if self.weighted and not self.filling.is_gapped:
            terms["drude"] = drude_weight(at, self.filling.slopes(energies))
        return terms

    def tensors(
        self, summed: NDArray[np.float64], mesh: KMesh
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the symmetric and the antisymmetric part (real, imaginary) of w, (nodes, 3, 3)."""
        xx, yy, zz, xy, xz, yz, c_yz, c_zx, c_xy, _ = summed.T
        rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        nothing = np.zeros_like(xx)
        turning = [[nothing, c_xy, -c_zx], [-c_xy, nothing, c_yz], [c_zx, -c_yz, nothing]]
        tensor = np.moveaxis(np.array(rows) + 1j * np.array(turning), -1, 0)
        tensor = averaged(tensor, mesh, 2, time="transposed")
        return tensor.real, tensor.imag

    def susceptibility(
        self,
        summed: NDArray[np.float64],
        mesh: KMesh,
        energies: NDArray[np.float64],
        cell: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Return the sum over transitions at some energies, (n, 3, 3) Å²/eV; see `Nodes`.

        The `cell` (Å) says which Hall effect an insulator can have, see `quantised`.
        """
        symmetric, turning = self.tensors(summed, mesh)
        excess = np.zeros((3, 3))
        if self.filling.is_gapped:
            whole = turning.sum(axis=0)
            excess = whole - quantised(whole, cell)
        parts = []
        length = max(1, _CHUNK // len(symmetric))
        for begin in range(0, len(energies), length):
            some = energies[begin : begin + length]
            parts.append(self.nodes.response(some, symmetric, turning, excess))
        return np.concatenate(parts)

    def joint_density(
        self, summed: NDArray[np.float64], energies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the pairs per energy, each a Lorentzian of half width η, (n,) 1/eV."""
        near, eta = self.nodes.near, self.nodes.eta
        pairs = summed[: len(near), 9]
        lines = [(eta / np.pi / ((near - x) ** 2 + eta**2)) @ pairs for x in energies]
        return np.array(lines)


def quantised(turning: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest Σ w' (3, 3), Å², that the filled bands of an insulator can have.

    ⟨Ω⟩ = −2 Σ w' over a mesh is V/4π² times a reciprocal lattice vector, that of the Chern numbers:
    nearly always zero. The sum on a mesh misses it, and divided by a small frequency the rest would
    be a large dielectric constant that does not exist.

    Examples
    --------
    >>> quantised(np.array([[0, 0.1, 0], [-0.1, 0, 0], [0, 0, 0]]), np.eye(3) * 5.0).any()
    np.False_
    """
    vector = np.array([turning[1, 2], turning[2, 0], turning[0, 1]])
    volume = abs(np.linalg.det(cell))
    # K = 4π²⟨Ω⟩/V in reciprocal vectors: K·a_i/2π
    chern = np.rint(-2 * vector @ cell.T * 2 * np.pi / volume)
    x, y, z = chern @ np.linalg.inv(cell).T * volume / (-4 * np.pi)
    return np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])


def drude_weight(at: KData, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ_n (−∂f/∂E)_n v_a v_b (3, 3), eV Å², of a k-point; `slopes` are −∂f/∂E, 1/eV.

    The sum over a level of several states is the trace of the product of its velocity matrices.
    """
    total = np.zeros((3, 3))
    for group in at.groups:
        if np.any(slopes[group] > 1e-14) or np.any(slopes[group] < -1e-14):
            v = at.slope_matrix(group, group)
            total += slopes[group].mean() * np.einsum("amn,bnm->ab", v, v).real
    return total


def require_energies(energies: NDArray[np.float64], eta: float) -> None:
    """Refuse energies that are not ascending and positive, and a broadening that is none."""
    if energies.ndim != 1 or len(energies) == 0 or not np.isfinite(energies).all():
        raise UsageError("photon energies are a list of finite numbers in eV.")
    if np.any(np.diff(energies) <= 0) or energies[0] < 0:
        raise UsageError(
            f"photon energies ascend from 0 or above; found {energies[0]:g} to {energies[-1]:g} eV."
        )
    if not 0 < eta < np.inf:
        raise UsageError(f"the broadening eta must be a positive energy in eV, found {eta:g}.")
