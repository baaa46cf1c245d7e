"""Readers of the exits' files, written from the descriptions of the formats alone."""

import struct

import numpy as np


def read_petsc(path):
    """Return the dense matrices by lattice vector of a PETSc binary file (complex scalars)."""
    data, place, matrices = path.read_bytes(), 0, []
    while place < len(data):
        kind, rows, columns, n_values = struct.unpack_from(">4i", data, place)
        assert kind == 1211216
        place += 16
        lengths = np.frombuffer(data, ">i4", rows, place)
        place += 4 * rows
        index = np.frombuffer(data, ">i4", n_values, place)
        place += 4 * n_values
        values = np.frombuffer(data, ">c16", n_values, place)
        place += 16 * n_values
        matrix = np.zeros((rows, columns), dtype=complex)
        matrix[np.repeat(np.arange(rows), lengths), index] = values
        matrices.append(matrix)
    vectors = matrices[0].real.astype(int)
    assert len(vectors) == len(matrices) - 1
    return {tuple(R): matrix for R, matrix in zip(vectors.tolist(), matrices[1:], strict=True)}


def read_hr(path):
    """Return the dense matrices by lattice vector of an ``_hr.dat``."""
    words = path.read_text().splitlines()
    size, n_vectors = int(words[1]), int(words[2])
    n_lines = -(-n_vectors // 15)
    degeneracies = [int(w) for line in words[3 : 3 + n_lines] for w in line.split()]
    assert len(degeneracies) == n_vectors
    table = np.array([line.split() for line in words[3 + n_lines :]], dtype=float)
    assert len(table) == n_vectors * size**2
    matrices = {}
    for number, rows in enumerate(table.reshape(n_vectors, size**2, 7)):
        matrix = np.zeros((size, size), dtype=complex)
        m, n = rows[:, 3].astype(int) - 1, rows[:, 4].astype(int) - 1
        matrix[m, n] = (rows[:, 5] + 1j * rows[:, 6]) / degeneracies[number]
        matrices[tuple(rows[0, :3].astype(int).tolist())] = matrix
    return matrices


def bloch(matrices, k):
    """Return Σ_R exp(2πi k·R) O(R)."""
    return sum(np.exp(2j * np.pi * np.dot(k, R)) * matrix for R, matrix in matrices.items())
