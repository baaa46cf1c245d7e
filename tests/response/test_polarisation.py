"""Polarisation by Berry phases."""

import dataclasses

import numpy as np
import pytest
from moved import moved_by_cells

import dock
from dock.core.structure import Structure
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.response import polarization
from dock.response.polarisation import valence_charges
from dock.states.kmesh import KMesh
from dock.structures import haldane, lattice_model

DEBYE = 0.20819434  # e Å
WATER, MOS2 = {"O": 6, "H": 1}, {"Mo": 14, "S": 6}


@pytest.fixture(scope="module")
def water():
    return dock.read("fixtures/openmx/h2o")


@pytest.fixture(scope="module")
def mos2():
    calc = dock.read("fixtures/openmx/mos2")
    return calc.replace(
        matrices={n: calc.require(n) for n in ("hamiltonian", "overlap", "position")}
    )


def test_a_molecule_in_a_box_has_the_dipole_that_its_code_printed(water):
    found = polarization(water, (1, 16, 1), charges=WATER)
    dipole = found.vector * water.structure.volume / DEBYE
    np.testing.assert_allclose(dipole, [0, 2.08572570, 0], rtol=0, atol=1e-6)  # h2o.out
    coarse = polarization(water, (1, 8, 1), charges=WATER)
    np.testing.assert_allclose(coarse.fractions, found.fractions, rtol=0, atol=1e-6)


def test_mos2_has_its_threefold_axis_and_two_meshes_agree(mos2):
    found = polarization(mos2, (16, 16, 1), charges=MOS2)
    # (±1/3, ∓1/3, 0) of the quantum by symmetry, which OpenMX's integrals keep to 1e-4.
    thirds = 3 * found.fractions
    np.testing.assert_allclose(thirds - np.rint(thirds), 0, atol=5e-4)
    other = polarization(mos2, (12, 12, 1), charges=MOS2)
    apart = found.fractions - other.fractions
    np.testing.assert_allclose(apart - np.rint(apart), 0, atol=2e-4)
    assert found.quanta.tolist() == [2, 2, 2]
    assert found.change is not None


def ionic(shift=0.0):
    """Two sites that differ, without any symmetry, with bonds of all lengths; three dimensions."""
    cell = [[3.0, 0.2, 0], [0, 3.3, 0.1], [0.3, 0, 2.9]]
    terms = [(0, 0, (0, 0, 0), -3.0), (1, 1, (0, 0, 0), 3.0), (0, 1, (0, 0, 0), 1.0)]
    terms += [(0, 1, R, t) for R, t in (((-1, 0, 0), 0.5), ((0, -1, 0), 0.4), ((0, 0, -1), 0.3))]
    positions = np.array([[0.1, 0, 0], [0.45, 0.4, 0.35]]) + shift
    return lattice_model(cell, positions, terms, electrons=2)


@pytest.fixture(scope="module")
def two_sites():
    return polarization(ionic(), (12, 4, 4), charges={"X": 1})


def test_two_meshes_agree(two_sites):
    other = polarization(ionic(), (16, 4, 4), charges={"X": 1})
    apart = two_sites.fractions - other.fractions
    np.testing.assert_allclose(apart - np.rint(apart), 0, atol=1e-6)
    assert np.abs(two_sites.fractions).max() > 0.05
    assert two_sites.quanta.tolist() == [1, 1, 1]  # odd charges: an atom may move by one cell


def test_it_does_not_depend_on_the_origin_or_on_cells(two_sites):
    shifted = polarization(ionic(0.137), (12, 4, 4), charges={"X": 1})
    np.testing.assert_allclose(shifted.fractions, two_sites.fractions, rtol=0, atol=1e-9)
    moved = moved_by_cells(ionic(), [[0, 1, -1], [1, -2, 0]])
    found = polarization(moved, (12, 4, 4), charges={"X": 1})
    apart = found.fractions - two_sites.fractions
    np.testing.assert_allclose(apart - np.rint(apart), 0, atol=1e-9)


def test_real_orbitals_too(mos2):
    here = polarization(mos2, (6, 6, 1), charges=MOS2)
    moved = moved_by_cells(mos2, [[0, 1, 0], [1, -2, 0], [-1, 0, 0]])
    there = polarization(moved, (6, 6, 1), charges=MOS2)
    apart = there.fractions - here.fractions
    np.testing.assert_allclose(apart - 2 * np.rint(apart / 2), 0, atol=1e-9)


@pytest.mark.shared
def test_gallium_arsenide_is_that_of_another_method(shared):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    mesh = KMesh.full((32, 2, 1), (0, 0.3, 0.2))
    found = polarization(calc, mesh, charges={"Ga": 13, "As": 15})
    lines = [line_integral(calc, (y, 0.2), n=32, filled=28) for y in (0.15, 0.65)]
    apart = found.electronic[0, 0] + np.mean(np.unwrap(lines)) / (2 * np.pi)
    # A turn of one line is half a quantum of the mean.
    assert abs(2 * apart - np.rint(2 * apart)) < 2e-5


def line_integral(calc, across, n, filled):
    """∮Tr A along b1 by a smooth gauge and a Fourier derivative, from the stored matrices alone."""
    import scipy.linalg

    H, S, r = calc.hamiltonian, calc.overlap, calc.position
    R = S.pairs.R @ calc.structure.cell
    size = np.diff(S.layout.starts)
    assert S.pairs.is_same(r.pairs)
    outward = r.with_entries(r.entries - np.repeat(R, size, axis=0).T * S.entries)
    spin = np.eye(2)
    along = calc.structure.reciprocal[0]
    trial, frames, overlaps, basis = None, [], [], 0.0
    for x in np.arange(n) / n:
        k = [x, *across]
        S_k, H_k = np.kron(spin, S.k(k)), H.k(k)
        C = scipy.linalg.eigh(H_k, S_k)[1][:, :filled]
        a = np.kron(spin, np.tensordot(along, outward.k(k), axes=1))  # i⟨ũ|∂ũ⟩ of the basis
        basis += np.trace(C.conj().T @ a @ C).real / n
        trial = C if trial is None else trial
        left, _, right = np.linalg.svd(C.conj().T @ S_k @ trial)
        frames.append(C @ (left @ right))
        overlaps.append(S_k)
    frequency = 2j * np.pi * np.fft.fftfreq(n, 1 / n)
    slopes = np.fft.ifft(frequency[:, None, None] * np.fft.fft(frames, axis=0), axis=0)
    turning = [
        1j * np.trace(C.conj().T @ S_k @ D)
        for C, S_k, D in zip(frames, overlaps, slopes, strict=True)
    ]
    return basis + np.mean(turning).real


def test_channels_of_a_magnet_are_filled_each_by_itself():
    oxygen = dock.read("fixtures/openmx/o2-spin")
    found = polarization(oxygen, (4, 1, 1))
    assert found.electronic.shape == (2, 3)
    assert found.charges == {"O": 6.0}
    assert found.quanta.tolist() == [1, 1, 1]
    # The middle of the molecule is a centre of inversion: twice P is a whole quantum.
    np.testing.assert_allclose(2 * found.fractions, np.rint(2 * found.fractions), atol=1e-6)


def test_charges_come_from_the_run_or_must_be_given(water, mos2):
    silicon = dock.read("fixtures/openmx/si")
    assert valence_charges(silicon) == {"Si": 4.0}
    with pytest.raises(MissingDataError, match="valence charge of Mo") as caught:
        polarization(mos2, (2, 2, 1))
    assert "charges={'Mo': Z}" in str(caught.value)
    with pytest.raises(UsageError, match="no species 'Si', there are O, H"):
        valence_charges(water, {"Si": 4})
    with pytest.raises(UsageError, match="the ions have charges of 10 e together and there are 8"):
        polarization(water, (1, 2, 1), charges={"O": 6, "H": 2})


@pytest.mark.shared
def test_siesta_says_its_charges(shared):
    calc = dock.read(shared / "fixtures/siesta/fept_soc")
    assert valence_charges(calc) == {"Fe_fept_SOC": 8.0, "Pt_fept_SOC": 10.0}
    assert valence_charges(calc, {"Fe": 7})["Fe_fept_SOC"] == 7


def test_a_metal_is_refused():
    graphene = dock.read("fixtures/openmx/graphene-v38")
    with pytest.raises(ConventionError, match=r"a semimetal\. A polarisation needs an insulator"):
        polarization(graphene, (3, 3, 1))


def test_a_chern_insulator_has_none():
    with pytest.raises(ConventionError, match=r"Berry phases along b1 turn .*Chern number"):
        polarization(haldane(mass=0.2), (8, 8, 1), charges={"X": 1})
    trivial = polarization(haldane(mass=2.0), (8, 8, 1), charges={"X": 1})
    assert trivial.gap > 1


def test_gamma_alone_gives_no_links(water):
    extra = {**water.provenance.extra, "gamma_only": True}
    alone = water.replace(provenance=dataclasses.replace(water.provenance, extra=extra))
    with pytest.raises(UsageError, match=r"from Γ to Γ \+ b, and the matrices of a run at Γ alone"):
        polarization(alone, (1, 1, 1), charges=WATER)


def test_an_inversion_centre_leaves_nothing_and_it_is_drawn(tmp_path):
    silicon = dock.read("fixtures/openmx/si")
    found = polarization(silicon, (4, 4, 4))
    np.testing.assert_allclose(found.fractions - np.rint(found.fractions), 0, atol=1e-6)
    assert found.plot(tmp_path / "parts.png").stat().st_size > 1000
    facts = found.json()
    assert facts["valence_charges_e"] == {"Si": 4.0}
    assert facts["polarization_quantum_e_per_ang2"][0][0] == pytest.approx(
        2 * silicon.structure.cell[0, 0] / silicon.structure.volume
    )
    assert isinstance(found.structure, Structure)
