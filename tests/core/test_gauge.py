"""The free multiple of S in H: found again, taken off, refused where matrices do not fit."""

import numpy as np
import pytest
from hypothesis import given
from synthetic import random_case, random_matrix, seeds, spins

from dock.core.gauge import hamiltonian_difference, hamiltonian_shift
from dock.core.spin import Spin
from dock.errors import LayoutError

EXACT = 1e-12


def case(seed, spin):
    """Return a Hamiltonian and an overlap on the same pairs."""
    hamiltonian = random_case(seed, spin)
    rng = np.random.default_rng(seed)
    parts = (hamiltonian.structure, hamiltonian.basis, hamiltonian.pairs)
    return hamiltonian, random_matrix(rng, *parts, quantity="overlap", spin=spin)


@given(seeds, spins)
def test_a_shift_is_found_again_and_taken_off(seed, spin):
    hamiltonian, overlap = case(seed, spin)
    moved = hamiltonian + 0.75 * overlap
    assert hamiltonian_shift(moved, hamiltonian, overlap) == pytest.approx(0.75, abs=EXACT)
    rest = hamiltonian_difference(moved, hamiltonian, overlap)
    assert np.abs(rest.entries).max() < EXACT


@given(seeds, spins)
def test_without_a_reference_it_is_measured_from_zero(seed, spin):
    hamiltonian, overlap = case(seed, spin)
    zero = hamiltonian * 0.0
    wanted = hamiltonian_shift(hamiltonian, zero, overlap)
    assert hamiltonian_shift(hamiltonian, None, overlap) == pytest.approx(wanted, abs=EXACT)


def test_matrices_that_do_not_fit():
    hamiltonian, overlap = case(3, Spin.NONE)
    collinear, _ = case(3, Spin.COLLINEAR)
    with pytest.raises(LayoutError, match="has spin 'none', the reference 'collinear'"):
        hamiltonian_shift(hamiltonian, collinear, overlap)
    with pytest.raises(LayoutError, match="different atoms or bases"):
        hamiltonian_difference(hamiltonian, case(4, Spin.NONE)[0], overlap)
