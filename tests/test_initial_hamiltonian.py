"""H of superposed free atoms, against SIESTA's own run, and by its symmetries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dock
from dock.converters.siesta.free_atom import read_free_atom
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.evaluate.structure import EvaluateOptions, evaluate
from dock.grid.grid import with_radials
from dock.initial_hamiltonian import initial_hamiltonian

IONS = "fixtures/models/bilayer"


@pytest.fixture(scope="module")
def atoms():
    return {"C": read_free_atom(f"{IONS}/C.ion.xml")}


@pytest.fixture(scope="module")
def graphene():
    return with_radials(dock.read("fixtures/siesta/graphene"), IONS)


@pytest.fixture(scope="module")
def free(graphene, atoms):
    pairs = graphene.hamiltonian.pairs
    return initial_hamiltonian(graphene.structure, graphene.basis, pairs, atoms, jobs=1)


def test_graphene_of_siesta(graphene, free):
    """Nothing is fitted, and H is right to 2 %: bonds move little charge in graphene."""
    H = graphene.hamiltonian
    named = replace(free, quantity="hamiltonian")
    found = evaluate(named, graphene, EvaluateOptions(mesh=(4, 4, 1)), jobs=1).facts()
    size = np.abs(H.entries).mean()
    assert found["mae_hamiltonian_eV"] < 0.025 * size
    assert found["mae_occupied_levels_eV"] < 0.25
    assert found["n_ghost_states"] == 0


def test_hermitian_bit_by_bit(free):
    assert free.hermiticity_error() == 0.0


def test_atoms_moved_together(graphene, atoms, free):
    """The grid stands still while the crystal moves: what that changes is small."""
    structure = graphene.structure
    moved = replace(structure, positions=structure.positions + np.array([0.03, 0.05, 0.041]))
    other = initial_hamiltonian(moved, graphene.basis, free.pairs, atoms, jobs=1)
    change = np.abs(other.entries - free.entries)
    assert 0 < change.max() < 4e-3
    assert change.mean() < 5e-5


def test_collinear_spins_have_the_same(graphene, atoms, free):
    both = initial_hamiltonian(
        graphene.structure, graphene.basis, free.pairs, atoms, Spin.COLLINEAR, jobs=1
    )
    assert np.array_equal(both.entries, np.repeat(free.entries, 2, axis=0))


def test_projectors_with_j(graphene, atoms, free):
    """Equal for both j they are those without; else L·σ splits levels, and Kramers pairs stay."""
    whole, basis = atoms["C"], graphene.basis
    split = []
    for one in whole.projectors:
        pair = [one._replace(j=one.l + s, energy=one.energy + 6.0 * s) for s in (-0.5, 0.5)]
        split += pair if one.l else [one._replace(j=0.5)]
    energy = {one.l: one.energy for one in whole.projectors}
    same = [one._replace(energy=energy[one.l]) for one in split]
    plain, coupled = (
        initial_hamiltonian(
            graphene.structure,
            basis,
            free.pairs,
            {"C": whole._replace(projectors=tuple(own))},
            Spin.NONCOLLINEAR,
            jobs=1,
        )
        for own in (same, split)
    )
    for part, wanted in zip(plain.entries, (free.entries[0], 0, 0, free.entries[0]), strict=True):
        assert np.abs(part - wanted).max() < 1e-10
    assert np.abs(coupled.entries[1]).max() > 0.01
    k = [0.1, 0.23, 0.0]
    levels = [np.linalg.eigvalsh(coupled.k(place)) for place in (k, np.negative(k))]
    assert np.abs(levels[0] - levels[1]).max() < 1e-9
    at_gamma = np.linalg.eigvalsh(coupled.k([0, 0, 0]))
    assert np.abs(at_gamma[::2] - at_gamma[1::2]).max() < 1e-9


def test_a_species_without_free_atom(graphene):
    pairs = graphene.hamiltonian.pairs
    with pytest.raises(LayoutError, match="no free atom of C"):
        initial_hamiltonian(graphene.structure, graphene.basis, pairs, {})


def test_other_basis_files():
    with pytest.raises(MissingDataError, match=r"ion\.xml files, which stand beside"):
        read_free_atom("fixtures/siesta/graphene/C.ion.nc")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<vna>", "<vnb>", "<vna> is missing"),
        ('population="     2.0', 'population="     1.0', "populations and valence charge disagree"),
        ('ref_energy="', 'ref_energy="x', "attribute ref_energy is no number"),
    ],
)
def test_damaged(tmp_path, old, new, words):
    text = Path(f"{IONS}/C.ion.xml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "C.ion.xml"
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=words):
        read_free_atom(path)


def test_a_cut_table(tmp_path):
    text = Path(f"{IONS}/C.ion.xml").read_text(encoding="utf-8")
    begin = text.index("<data>", text.index("<vna>"))
    end = text.index("</data>", begin)
    path = tmp_path / "C.ion.xml"
    lines = text[begin:end].splitlines()
    cut = "\n".join(lines[: len(lines) // 2]) + "\n"
    path.write_text(text[:begin] + cut + text[end:])
    with pytest.raises(FormatError, match="table is cut"):
        read_free_atom(path)
