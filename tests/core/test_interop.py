"""scipy.sparse and sisl: the same matrices, the same eigenvalues, the same populations."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from synthetic import (
    bloch,
    blocks_of,
    hermitian_matrices,
    positive_overlap,
    random_case,
    random_hermitian,
)

from dock.core.basis import Basis
from dock.core.interop import to_csr
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DependencyError, LayoutError
from dock.extras import require

EXACT = 1e-10
K = [0.13, -0.31, 0.22]


@given(hermitian_matrices())
def test_csr(matrix):
    n, offsets = matrix.basis.n_orbitals, matrix.basis.offsets
    dense = {}
    for (R, i, j), block in blocks_of(matrix).items():
        target = dense.setdefault(R, np.zeros((len(block), n, n), dtype=block.dtype))
        target[:, offsets[i] : offsets[i + 1], offsets[j] : offsets[j + 1]] = block
    for R, wanted in dense.items():
        for component, one in enumerate(wanted):
            found = matrix.to_csr(R, component)
            assert found.format == "csr"
            np.testing.assert_array_equal(found.toarray(), one)
    assert matrix.to_csr([9, 9, 9]).nnz == 0


def test_csr_errors():
    with pytest.raises(LayoutError, match="hamiltonian has components 0 to 0"):
        to_csr(random_case(1), [0, 0, 0], 1)
    with pytest.raises(LayoutError, match="has components 0 to 3"):
        to_csr(random_case(1, Spin.NONCOLLINEAR), [0, 0, 0], -1)
    with pytest.raises(LayoutError, match="R needs three components"):
        to_csr(random_case(1), [0, 0])


def test_require_says_how_to_install():
    assert require("sys", "nothing") is sys
    with pytest.raises(DependencyError, match=r"nosuchthing is needed .* 'dock-dft\[extra\]'"):
        require("nosuchthing.core", "extra")


# ----------------------------------------------------------------------------------------- sisl


@pytest.fixture(scope="module")
def sisl():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sisl")


def calculation(spin, seed=8):
    """H, S and ρ with S(k) positive definite."""
    hamiltonian = random_case(seed, spin)
    overlap, parts = positive_overlap(hamiltonian)
    density = random_hermitian(*parts, quantity="density_matrix", spin=spin)
    return hamiltonian, overlap, density


def interleaved(n):
    """Our number of the orbitals in sisl's order, where the two spins are neighbours."""
    return np.arange(2 * n).reshape(2, n).T.ravel()


def spinor_order(matrix, dense):
    if matrix.spin is not Spin.NONCOLLINEAR:
        return dense
    order = interleaved(matrix.basis.n_orbitals)
    return dense[np.ix_(order, order)]


@pytest.mark.parametrize("spin", list(Spin))
def test_sisl_has_our_matrices_and_eigenvalues(sisl, spin):
    import scipy.linalg

    hamiltonian, overlap, _ = calculation(spin)
    theirs = hamiltonian.to_sisl(overlap)
    assert isinstance(theirs, sisl.Hamiltonian)
    ours = bloch(hamiltonian, K)
    S = bloch(overlap, K, spinor=spin is Spin.NONCOLLINEAR)[0]
    for channel, H in enumerate(ours):
        options = {"spin": channel} if spin is Spin.COLLINEAR else {}
        found = theirs.Hk(K, format="array", **options)
        np.testing.assert_allclose(found, spinor_order(hamiltonian, H), rtol=0, atol=EXACT)
        eigenvalues = theirs.eigh(K, **options)
        wanted = scipy.linalg.eigh(H, S, eigvals_only=True)
        np.testing.assert_allclose(eigenvalues, wanted, rtol=0, atol=EXACT)
    found = theirs.Sk(K, format="array")
    np.testing.assert_allclose(found, spinor_order(hamiltonian, S), rtol=0, atol=EXACT)


@pytest.mark.parametrize("spin", list(Spin))
def test_sisl_without_overlap(sisl, spin):
    hamiltonian = calculation(spin)[0]
    theirs = hamiltonian.to_sisl(orthogonal=True)
    assert theirs.orthogonal
    channel = {"spin": 1} if spin is Spin.COLLINEAR else {}
    wanted = np.linalg.eigvalsh(bloch(hamiltonian, K)[-1])
    np.testing.assert_allclose(theirs.eigh(K, **channel), wanted, rtol=0, atol=EXACT)


def single_orbital(values, quantity="hamiltonian"):
    structure = Structure(5 * np.eye(3), [[0, 0, 0]], [1])
    basis = Basis.from_ls({"H": [0]}, ["H"])
    from dock.core.pairs import Pairs

    pairs = Pairs(np.zeros((1, 3)), np.zeros(1), np.zeros(1), 1)
    return AOMatrix(
        quantity, structure, basis, pairs, Spin.NONCOLLINEAR, np.reshape(values, (4, 1))
    )


def single_overlap():
    one = single_orbital(np.zeros(4))
    return AOMatrix("S", one.structure, one.basis, one.pairs, one.spin, np.ones((1, 1)))


@pytest.mark.parametrize("axis", range(3))
def test_each_pauli_matrix_arrives(sisl, axis):
    """M·σ for M along x, y and z: versions of sisl disagree on the sign of Im ud."""
    sigma = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])[axis]
    theirs = single_orbital(sigma.ravel()).to_sisl(orthogonal=True)
    np.testing.assert_allclose(theirs.Hk([0, 0, 0], format="array"), sigma, atol=1e-15)


@pytest.mark.parametrize("axis", range(3))
def test_the_moment_of_a_density_matrix(sisl, axis):
    """One electron with its spin along +x, +y or +z has that moment in sisl too."""
    sigma = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])[axis]
    spinor = np.linalg.eigh(sigma)[1][:, 1]
    rho = np.outer(spinor, spinor.conj()).ravel()
    density, overlap = single_orbital(rho, "density_matrix"), single_overlap()
    assert density.dot(overlap) == pytest.approx(1)
    theirs = density.to_sisl(overlap)
    moment = np.eye(3)[axis]
    found = theirs.mulliken("atom").ravel()
    np.testing.assert_allclose(found, [1, *moment], atol=1e-14)
    uu, ud, _, dd = rho
    np.testing.assert_allclose([2 * ud.real, -2 * ud.imag, (uu - dd).real], moment, atol=1e-14)


@pytest.mark.parametrize("spin", list(Spin))
def test_sisl_counts_our_electrons(sisl, spin):
    _, overlap, density = calculation(spin)
    theirs = density.to_sisl(overlap)
    assert isinstance(theirs, sisl.DensityMatrix)
    found = np.asarray(theirs.mulliken("orbital"))
    total = found.sum() if spin is Spin.NONE else found[0].sum()
    assert total == pytest.approx(density.dot(overlap), abs=EXACT)


def test_the_geometry_in_sisl(sisl):
    hamiltonian = calculation(Spin.NONE)[0]
    geometry = hamiltonian.to_sisl(orthogonal=True).geometry
    np.testing.assert_allclose(geometry.xyz, hamiltonian.structure.positions)
    np.testing.assert_allclose(geometry.lattice.cell, hamiltonian.structure.cell)
    assert geometry.atoms.Z.tolist() == hamiltonian.structure.numbers.tolist()
    assert geometry.no == hamiltonian.basis.n_orbitals
    table = hamiltonian.basis.table
    found = [
        (orbital.l, orbital.m)
        for index in range(geometry.na)
        for orbital in geometry.atoms[index].orbitals
    ]
    assert found == list(zip(table.l.tolist(), table.m.tolist(), strict=True))


@pytest.mark.parametrize("number", [0, 131])
def test_atoms_that_are_no_element(sisl, number):
    one = single_orbital([1, 0, 0, 1])
    structure = Structure(one.structure.cell, one.structure.positions, [number], ("H",))
    ghost = AOMatrix("H", structure, one.basis, one.pairs, one.spin, one.entries)
    geometry = ghost.to_sisl(orthogonal=True).geometry
    assert geometry.no == 1
    assert geometry.atoms.Z.tolist() == [number]


def test_species_named_apart_from_the_structure(sisl):
    one = single_orbital([1, 0, 0, 1])
    basis = Basis.from_ls({"H_tight": [0]}, ["H_tight"])
    named = AOMatrix("H", one.structure, basis, one.pairs, one.spin, one.entries)
    assert named.to_sisl(orthogonal=True).geometry.atoms[0].tag == "H_tight"


def test_different_pairs_are_joined(sisl):
    hamiltonian, overlap, _ = calculation(Spin.NONE)
    fewer = overlap.drop_small(0.5)
    assert len(fewer.pairs) < len(overlap.pairs)
    theirs = hamiltonian.to_sisl(fewer)
    np.testing.assert_allclose(theirs.Sk(K, format="array"), bloch(fewer, K)[0], atol=EXACT)
    np.testing.assert_allclose(theirs.Hk(K, format="array"), bloch(hamiltonian, K)[0], atol=EXACT)


def test_sisl_errors(sisl):
    hamiltonian, overlap, density = calculation(Spin.NONE)
    with pytest.raises(LayoutError, match="no counterpart of the overlap"):
        overlap.to_sisl()
    with pytest.raises(LayoutError, match="needs an overlap beside the matrix"):
        hamiltonian.to_sisl(density)
    with pytest.raises(LayoutError, match="different bases"):
        hamiltonian.to_sisl(random_case(9, quantity="overlap"))
    with pytest.raises(LayoutError, match=r"without overlap.*to_sisl\(calc\.overlap\)"):
        hamiltonian.to_sisl()


def test_orbitals_have_their_own_numbers_and_cutoffs(sisl, bundled):
    """SIESTA's names of shells, and the radial functions of its ion file."""
    import dock

    folder = bundled / "siesta" / "graphene"
    calc = dock.read(folder, basis=folder)
    theirs = calc.hamiltonian.to_sisl(calc.overlap)
    found = [(x.n, x.l, x.zeta, x.P) for x in theirs.geometry.atoms[0].orbitals if x.m == -x.l]
    assert found == [(2, 0, 1, False), (2, 0, 2, False), (2, 1, 1, False), (2, 1, 2, False),
                     (3, 2, 1, True)]  # fmt: skip
    radii = {orbital.R for orbital in theirs.geometry.atoms[0].orbitals}
    assert radii == {shell.radial.cutoff for shell in calc.basis.shells["C"]}
    bare = dock.read(folder)
    longest = bare.hamiltonian.pairs.lengths(bare.structure).max()
    atom = bare.hamiltonian.to_sisl(bare.overlap).geometry.atoms[0]
    assert atom.maxR() == pytest.approx(longest / 2, abs=1e-5)
    k = [0.1, 0.2, 0]
    np.testing.assert_allclose(
        theirs.eigh(k), bare.hamiltonian.to_sisl(bare.overlap).eigh(k), atol=1e-12
    )
