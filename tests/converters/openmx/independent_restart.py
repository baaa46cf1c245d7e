"""A plain reader of OpenMX's restart files, from the description of the format alone."""

from types import SimpleNamespace

import numpy as np


def read_grid(path):
    """Return MPI processes, the three numbers of grid points, and the spin switch."""
    processes, *grid, switch = (int(word) for word in path.read_text().split())
    return processes, tuple(grid), switch


def read_atom(path):
    """Return what a ``.rst<i>`` file holds: matrices as (components, entries of the atom)."""
    data = path.read_bytes()
    head = np.frombuffer(data, "<i4", 10)
    switch, components, _, _, _, _, species, n_orbitals, n, spin_orbit = head.tolist()
    lists = np.frombuffer(data, "<i4", 6 * (n + 1), head.nbytes).reshape(6, n + 1)
    numbers = np.frombuffer(data, "<f8", -1, head.nbytes + lists.nbytes)
    counts = [components, 3 if switch == 3 else 0, components]
    matrices = numbers[1:].reshape(sum(counts), n_orbitals * lists[5].sum())
    hamiltonian, hamiltonian_imag, density = np.split(matrices, np.cumsum(counts[:2]))
    return SimpleNamespace(
        species=species,
        n_orbitals=n_orbitals,
        spin_orbit=bool(spin_orbit),
        neighbour_atoms=lists[0] - 1,
        neighbour_cells=lists[1:4].T,
        neighbour_orbitals=lists[5],
        band_energy=numbers[0],
        hamiltonian=hamiltonian,
        hamiltonian_imag=hamiltonian_imag,
        density=density,
    )
