"""Differences of two matrices, against a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from synthetic import hermitian_matrices, random_case, random_matrix, seeds

from dock.core.basis import Basis
from dock.core.compare import compare
from dock.core.spin import Spin
from dock.errors import LayoutError


@given(hermitian_matrices(), seeds)
def test_figures_are_those_of_a_plain_loop(matrix, seed):
    other = random_matrix(
        np.random.default_rng(seed), matrix.structure, matrix.basis, matrix.pairs, spin=matrix.spin
    )
    found = compare(matrix, other)
    delta = np.abs(matrix.entries - other.entries)
    assert found.largest == pytest.approx(delta.max())
    assert found.mean == pytest.approx(delta.mean())
    assert (found.pairs, found.same_order, found.unit) == ("", True, "eV")
    worst = {}
    for pair in range(len(matrix.pairs)):
        i, j = int(matrix.pairs.i[pair]), int(matrix.pairs.j[pair])
        block = np.abs(
            matrix.block(matrix.pairs.R[pair], i, j) - other.block(matrix.pairs.R[pair], i, j)
        ).reshape(-1, matrix.basis.counts[i], matrix.basis.counts[j])
        names = matrix.basis.labels[i], matrix.basis.labels[j]
        row = 0
        for a, la in enumerate(matrix.basis.ls(names[0])):
            column = 0
            for b, lb in enumerate(matrix.basis.ls(names[1])):
                part = block[:, row : row + 2 * la + 1, column : column + 2 * lb + 1]
                worst.setdefault((names, (a, b)), []).append(part.ravel())
                column += 2 * lb + 1
            row += 2 * la + 1
    assert len(found.shell_pairs) == len(worst)
    for item in found.shell_pairs:
        values = np.concatenate(worst[item.species, item.shells])
        assert item.largest == pytest.approx(values.max())
        assert item.mean == pytest.approx(values.mean())
    peaks = [item.largest for item in found.shell_pairs]
    assert peaks == sorted(peaks, reverse=True)


def test_order_and_missing_pairs(rng):
    matrix = random_case(7)
    turned = matrix.take_pairs(rng.permutation(len(matrix.pairs)))
    found = compare(matrix, turned)
    assert (found.largest, found.pairs, found.same_order) == (0.0, "", False)
    less = matrix.take_pairs(np.arange(len(matrix.pairs) - 2))
    found = compare(matrix, less)
    gone = matrix.take_pairs(np.arange(len(matrix.pairs) - 2, len(matrix.pairs)))
    assert found.largest == np.abs(gone.entries).max()
    assert found.pairs.startswith("2 pairs only in the first")
    assert compare(less, matrix).pairs.startswith("2 pairs only in the second")


def test_names_of_shells():
    matrix = random_case(3)
    basis = Basis.from_ls({"H": [0, 0, 1], "C": [2], "Mo": [0, 1]}, matrix.structure.labels)
    one = random_matrix(np.random.default_rng(0), matrix.structure, basis, matrix.pairs)
    names = {item.names for item in compare(one, 2 * one).shell_pairs}
    assert ("H s1", "C d0") in names
    assert ("H p0", "H p0") in names


def test_refusals():
    matrix = random_case(5)
    S = random_matrix(
        np.random.default_rng(0), matrix.structure, matrix.basis, matrix.pairs, quantity="overlap"
    )
    with pytest.raises(LayoutError, match="hamiltonian cannot be compared with a overlap"):
        compare(matrix, S)
    with pytest.raises(LayoutError, match="none spin cannot be compared with collinear"):
        compare(matrix, random_case(5, Spin.COLLINEAR))
    other = Basis.from_ls({"H": [0], "C": [0], "Mo": [0]}, matrix.structure.labels)
    small = random_matrix(np.random.default_rng(0), matrix.structure, other, matrix.pairs)
    with pytest.raises(LayoutError, match="different bases"):
        compare(matrix, small)
    assert compare(matrix, replace(matrix)).largest == 0
