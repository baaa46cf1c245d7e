"""Sparse matrices of lattice vectors, against sums over the blocks one by one."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import blocks_of, random_case

from dock.converters import csr
from dock.converters.wannier90.hr_dat import dense_blocks
from dock.core.spin import Spin


def dense_by_R(matrix):
    """Return (components, N, N) for each lattice vector."""
    basis, found = matrix.basis, {}
    shape = (len(matrix.entries), basis.n_orbitals, basis.n_orbitals)
    for (R, i, j), block in blocks_of(matrix).items():
        whole = found.setdefault(R, np.zeros(shape, matrix.entries.dtype))
        rows = slice(basis.offsets[i], basis.offsets[i + 1])
        cols = slice(basis.offsets[j], basis.offsets[j + 1])
        whole[:, rows, cols] = block
    return found


def spinors(parts):
    """Return (2N, 2N), all orbitals of the first spin first."""
    zero = np.zeros_like(parts[0])
    if len(parts) == 4:
        return np.block([[parts[0], parts[1]], [parts[2], parts[3]]])
    return np.block([[parts[0], zero], [zero, parts[-1]]])


@pytest.mark.parametrize("spin", Spin, ids=lambda spin: spin.name)
@pytest.mark.parametrize("at_once", [1, 100, 2**18])
def test_every_entry_is_in_its_place(monkeypatch, spin, at_once):
    """Whether one lattice vector is taken at a time, several, or all; pairs are in any order."""
    monkeypatch.setattr(csr, "_AT_ONCE", at_once)
    matrix = random_case(5, spin)
    wanted = dense_by_R(matrix)
    found = {tuple(R.tolist()): parts for R, parts in csr.csr_by_lattice_vector(matrix)}
    doubled = {
        tuple(R.tolist()): parts for R, parts in csr.csr_by_lattice_vector(matrix, doubled=True)
    }
    assert list(found) == list(doubled) == sorted(wanted)
    for R, parts in found.items():
        np.testing.assert_array_equal([part.toarray() for part in parts], wanted[R])
        (both,) = doubled[R]
        np.testing.assert_array_equal(both.toarray(), spinors(wanted[R]))
    for component in range(len(matrix.entries)):
        for R, block in dense_blocks(matrix, component, doubled=False):
            np.testing.assert_array_equal(block, wanted[tuple(R.tolist())][component])
    for R, block in dense_blocks(matrix, 0, doubled=True):
        np.testing.assert_array_equal(block, spinors(wanted[tuple(R.tolist())]))
