"""Tight-binding models as calculations: any lattice, Haldane's and Kane and Mele's honeycombs.

Each site has one orbital, the overlap is the unit matrix, and positions are those of the sites, so
that everything that takes a run takes a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError

__all__ = ["Hopping", "haldane", "kane_mele", "lattice_model"]

Hopping = tuple[int, int, tuple[int, int, int], Any]
"""Sites i and j, the lattice vector R of j, and ⟨i, 0|H|j, R⟩: a number, or (2, 2) for spinors."""

_PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_VACUUM = 10.0  # Å


def lattice_model(
    cell: ArrayLike,
    positions: ArrayLike,
    hoppings: Sequence[Hopping],
    *,
    spinor: bool = False,
    electrons: float | None = None,
    fermi_level: float | None = None,
    name: str = "a lattice model",
) -> Calculation:
    """Return a calculation of a tight-binding model with one orbital on each site.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors as rows, Å.
    positions
        (n, 3) fractional positions of the sites.
    hoppings
        Terms ⟨i, 0|H|j, R⟩ in eV; the Hermitian partner of each, R ≠ 0 or i ≠ j, is added. The same
        term given twice adds up.
    spinor
        Values are (2, 2) matrices in spin.
    electrons, fermi_level
        Electrons per cell, and the Fermi level (eV). Without spinors a state holds two electrons.
    name
        How messages call it.

    Raises
    ------
    UsageError
        For a term of sites that there are not, of another shape, or an energy of a site that is not
        Hermitian.

    Examples
    --------
    >>> chain = lattice_model(np.diag([2.0, 9, 9]), [[0, 0, 0]], [(0, 0, (1, 0, 0), -1.0)])
    >>> chain.hamiltonian.k([0.5, 0, 0]).tolist()
    [[2.0]]
    """
    fractional = np.asarray(positions, dtype=np.float64)
    n_sites = len(fractional)
    blocks: dict[tuple[int, ...], NDArray[np.complex128]] = {
        (0, 0, 0, site, site): np.zeros((2, 2) if spinor else (1, 1), complex)
        for site in range(n_sites)
    }
    for i, j, R, value in hoppings:
        block = _block(i, j, value, n_sites, spinor)
        home = i == j and not any(R)
        if home and not np.allclose(block, block.conj().T):
            raise UsageError(f"the energy of site {i} is not Hermitian: {value}.")
        _add(blocks, (*R, i, j), block)
        if not home:
            _add(blocks, (*(-x for x in R), j, i), block.conj().T)
    keys = np.array(list(blocks))
    pairs = Pairs(keys[:, :3], keys[:, 3], keys[:, 4], n_sites)
    matrix = np.array(list(blocks.values()))
    entries = matrix.reshape(len(keys), -1).T  # uu, ud, du, dd; or the one component
    if not spinor and not np.any(entries.imag):
        entries = entries.real
    sites = np.asarray(cell, dtype=np.float64)
    structure = Structure(sites, fractional @ sites, np.zeros(n_sites, int))
    basis = Basis.from_ls({label: [0] for label in structure.labels}, structure.labels)
    onsite = np.all(keys[:, :3] == 0, axis=1) & (keys[:, 3] == keys[:, 4])
    about = (structure, basis, pairs)
    matrices = {
        "hamiltonian": AOMatrix(
            "hamiltonian", *about, Spin.NONCOLLINEAR if spinor else Spin.NONE, entries
        ),
        "overlap": AOMatrix("overlap", *about, Spin.NONE, onsite[None].astype(float)),
        "position": AOMatrix(
            "position", *about, Spin.NONE, (onsite[:, None] * structure.positions[keys[:, 3]]).T
        ),
    }
    spin = matrices["hamiltonian"].spin
    return Calculation(
        structure,
        basis,
        spin,
        matrices,
        fermi_level=fermi_level,
        n_electrons=electrons,
        source=name,
    )


def _block(i: int, j: int, value: Any, n_sites: int, spinor: bool) -> NDArray[np.complex128]:
    block = np.asarray(value, dtype=complex)
    shape = (2, 2) if spinor else ()
    if block.shape != shape or not {i, j} <= set(range(n_sites)):
        raise UsageError(
            f"a term is between sites 0 to {n_sites - 1} and {'(2, 2)' if spinor else 'a number'}; "
            f"found sites {i} and {j}, shape {block.shape}."
        )
    return block.reshape((2, 2) if spinor else (1, 1))


def _add(
    blocks: dict[tuple[int, ...], NDArray[np.complex128]],
    key: tuple[int, ...],
    block: NDArray[np.complex128],
) -> None:
    blocks[key] = blocks[key] + block if key in blocks else block


def haldane(
    *,
    t1: float = -1.0,
    t2: float = 0.15,
    phi: float = np.pi / 2,
    mass: float = 0.0,
    lattice_constant: float = 2.46,
) -> Calculation:
    """Return Haldane's model on the honeycomb, half filled.

    H = t₁ Σ c_i†c_j + t₂ Σ exp(iφν_ij) c_i†c_j + M Σ ξ_i c_i†c_i over first and second neighbours
    and sites (ξ = ±1 on A and B), where ν_ij = +1 for c_i†c_j with a hop from j to i that turns
    left. The lower band has Chern number ±1 where |M| < 3√3 |t₂ sin φ|, and 0 elsewhere. A state
    holds two electrons, since there is no spin. Source: F. D. M. Haldane, Phys. Rev. Lett. 61,
    2015 (1988).

    Examples
    --------
    >>> haldane().hamiltonian.k([0, 0, 0]).real.round(9).tolist()
    [[0.0, -3.0], [-3.0, 0.0]]
    """
    first, second = _honeycomb()
    terms: list[Hopping] = [(0, 1, R, t1) for R in first]
    for site, sign in ((0, 1), (1, -1)):
        terms.append((site, site, (0, 0, 0), sign * mass))
        terms += [(site, site, R, t2 * np.exp(1j * sign * phi)) for R in second]
    about = f"Haldane's model (t2 = {t2:g}, phi = {phi:g}, mass = {mass:g})"
    return lattice_model(*_hexagonal(lattice_constant), terms, electrons=2, name=about)


def kane_mele(
    *,
    t: float = -1.0,
    spin_orbit: float = 0.06,
    rashba: float = 0.05,
    mass: float = 0.1,
    lattice_constant: float = 2.46,
) -> Calculation:
    """Return Kane and Mele's model on the honeycomb, half filled.

    H = t Σ c_i†c_j + iλ_SO Σ ν_ij c_i†s_z c_j + iλ_R Σ c_i†(s × d̂_ij)_z c_j + λ_v Σ ξ_i c_i†c_i.
    It is a topological insulator (Z₂ = 1) with the defaults, and a trivial one where the mass λ_v
    wins: without Rashba's term, above 3√3 λ_SO. Source: C. L. Kane and E. J. Mele, Phys. Rev.
    Lett. 95, 146802 (2005).

    Examples
    --------
    >>> kane_mele().n_electrons
    2
    """
    cell, positions = _hexagonal(lattice_constant)
    first, second = _honeycomb()
    unit = np.eye(2)
    terms: list[Hopping] = []
    for R in first:
        bond = (positions[1] + np.array(R) - positions[0]) @ cell
        x, y, _ = -bond / np.linalg.norm(bond)  # from j to i, as for ν
        crossed = _PAULI[0] * y - _PAULI[1] * x
        terms.append((0, 1, R, t * unit + 1j * rashba * crossed))
    for site, sign in ((0, 1), (1, -1)):
        terms.append((site, site, (0, 0, 0), sign * mass * unit))
        terms += [(site, site, R, 1j * sign * spin_orbit * _PAULI[2]) for R in second]
    about = f"Kane and Mele's model (spin-orbit {spin_orbit:g}, Rashba {rashba:g}, mass {mass:g})"
    return lattice_model(cell, positions, terms, spinor=True, electrons=2, name=about)


def _hexagonal(a: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cell and fractional sites A and B of the honeycomb in the xy plane."""
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(3) / 2, 0], [0, 0, _VACUUM]])
    return cell, np.array([[0.0, 0.0, 0.5], [1 / 3, 1 / 3, 0.5]])


def _honeycomb() -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return R of B about A, and of the three second neighbours with ν = +1 about A."""
    return [(0, 0, 0), (-1, 0, 0), (0, -1, 0)], [(1, 0, 0), (-1, 1, 0), (0, -1, 0)]
