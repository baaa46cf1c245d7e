"""check_calculation: sound data pass, each planted fault is found and named."""

import numpy as np
import pytest
from synthetic import positive_overlap, random_case, random_hermitian

from dock.core.calculation import Calculation
from dock.core.check import check_calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import FormatError


def sound(spin=Spin.NONE):
    """H, S > 0 and ρ on the same pairs, and the electrons of ρ."""
    hamiltonian = random_case(8, spin)
    overlap, parts = positive_overlap(hamiltonian)
    density = random_hermitian(*parts, quantity="density_matrix", spin=spin) + 0.5 * unit(overlap)
    return {"hamiltonian": hamiltonian, "overlap": overlap, "density_matrix": density}


def unit(overlap):
    """S, to be added to the spin-diagonal of ρ so that its trace with S is positive."""
    return overlap.drop_small(0.5)


def make(matrices, spin=Spin.NONE, **options):
    base = random_case(8, spin)
    if "n_electrons" not in options and {"density_matrix", "overlap"} <= matrices.keys():
        options["n_electrons"] = matrices["density_matrix"].dot(matrices["overlap"])
    options.setdefault("fermi_level", -2.0)
    return Calculation(base.structure, base.basis, spin, matrices, **options)


def errors(calc):
    return {(finding.what, finding.message) for finding in check_calculation(calc)
            if finding.level == "error"}  # fmt: skip


def only_error(calc, what, *texts):
    found = errors(calc)
    assert [name for name, _ in found] == [what], found
    message = next(iter(found))[1]
    for text in texts:
        assert text in message


def spoiled(matrix, **change):
    """The matrix with one entry changed."""
    entries = np.array(matrix.entries)
    for (component, index), value in change["at"].items():
        entries[component, index] = value
    return matrix.with_entries(entries)


@pytest.mark.parametrize("spin", list(Spin))
def test_sound_data(spin):
    findings = check_calculation(make(sound(spin), spin))
    assert {finding.level for finding in findings} == {"ok"}
    assert [finding.what for finding in findings] == [
        "hamiltonian", "overlap", "density_matrix", "pairs", "S > 0", "Tr(ρS)", "distances",
    ]  # fmt: skip
    assert "eV (limit 1e-04)" in findings[0].message


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["hamiltonian", "overlap", "density_matrix"])
def test_not_finite(name, value):
    matrices = sound()
    matrices[name] = spoiled(matrices[name], at={(0, 3): value, (0, 7): value})
    calc = make(matrices, n_electrons=5.0)
    found = errors(calc)
    assert (name, f"2 of {matrices[name].entries.size} entries are NaN or Inf.") in found


@pytest.mark.parametrize("name", ["hamiltonian", "overlap", "density_matrix"])
def test_a_missing_partner(name):
    matrices = sound()
    pairs = matrices[name].pairs
    lost = int(np.flatnonzero(np.any(pairs.R != 0, axis=1))[0])
    kept = np.setdiff1d(np.arange(len(pairs)), lost)
    partner = pairs.describe(int(pairs.partner[lost]))
    calc = make({**matrices, name: matrices[name].take_pairs(kept)}, n_electrons=None)
    only_error(calc, name, "1 pairs have no partner", partner)


@pytest.mark.parametrize("name", ["hamiltonian", "overlap"])
def test_a_missing_onsite_block(name):
    matrices = sound()
    kept = np.setdiff1d(np.arange(len(matrices[name].pairs)), matrices[name].pairs.onsite[:2])
    calc = make({**matrices, name: matrices[name].take_pairs(kept)}, n_electrons=None)
    only_error(calc, name, "2 atoms have no on-site block")


@pytest.mark.parametrize("spin", list(Spin))
@pytest.mark.parametrize(
    ("name", "by"), [("hamiltonian", 3e-4), ("overlap", 3e-5), ("density_matrix", 3e-5)]
)
def test_not_hermitian(name, by, spin):
    matrices = sound(spin)
    good = matrices[name]
    off = int(np.flatnonzero(np.any(good.pairs.R != 0, axis=1))[0])
    place = (len(good.entries) - 1, int(good.layout.starts[off]))
    bad = spoiled(good, at={place: good.entries[place] + by})
    calc = make({**matrices, name: bad}, spin)
    only_error(calc, name, "largest |O − O†| is 3.0e-0")
    slightly = spoiled(good, at={place: good.entries[place] + 0.1 * by})
    assert errors(make({**matrices, name: slightly}, spin)) == set()


def test_other_operators():
    matrices = sound()
    rng = np.random.default_rng(0)
    base = matrices["overlap"]
    for quantity in ("kinetic", "gradient", "energy_density_matrix"):
        good = random_hermitian(rng, base.structure, base.basis, base.pairs, quantity=quantity)
        assert errors(make({**matrices, quantity: good})) == set()
        bad = spoiled(good, at={(0, int(good.layout.starts[3])): 9.0})
        only_error(make({**matrices, quantity: bad}), quantity, "largest |O")
    anti = random_hermitian(rng, base.structure, base.basis, base.pairs, quantity="gradient")
    assert any("|O + O†|" in f.message for f in check_calculation(make({"gradient": anti})))
    position = AOMatrix(
        "position",
        base.structure,
        base.basis,
        base.pairs,
        base.spin,
        np.ones((3, base.layout.n_entries)),
    )
    assert errors(make({"position": position})) == set()


def test_overlap_that_is_not_positive():
    matrices = sound()
    calc = make({**matrices, "overlap": matrices["overlap"] * -1.0}, n_electrons=None)
    only_error(calc, "S > 0", "not positive definite")


def test_overlap_that_is_singular_only_away_from_gamma():
    """One orbital with S(R=±1) = 0.6: S(k) is 2.2 at Γ and −0.2 at the zone border."""
    from dock.core.basis import Basis
    from dock.core.pairs import Pairs
    from dock.core.structure import Structure

    structure = Structure(np.diag([1.0, 9, 9]), [[0, 0, 0]], [1])
    basis = Basis.from_ls({"H": [0]}, ["H"])
    pairs = Pairs(np.array([[-1, 0, 0], [0, 0, 0], [1, 0, 0]]), np.zeros(3), np.zeros(3), 1)
    overlap = AOMatrix("S", structure, basis, pairs, Spin.NONE, np.array([0.6, 1, 0.6]))
    calc = Calculation(structure, basis, Spin.NONE, {"S": overlap}, 0.0, 1.0)
    only_error(calc, "S > 0", "-2.00e-01")
    thin = overlap.with_entries(np.array([0.4999999, 1, 0.4999999]))
    findings = check_calculation(Calculation(structure, basis, Spin.NONE, {"S": thin}, 0.0, 1.0))
    assert ("S > 0", "note") in {(finding.what, finding.level) for finding in findings}


def test_electrons():
    matrices = sound()
    count = matrices["density_matrix"].dot(matrices["overlap"])
    only_error(make(matrices, n_electrons=count + 2e-4), "Tr(ρS)", f"{count:.6f}")
    assert errors(make(matrices, n_electrons=count + 0.5e-4)) == set()
    capacity = 2 * matrices["overlap"].basis.n_orbitals
    for wrong in (-1.0, capacity + 1.0, np.nan):
        calc = make({"overlap": matrices["overlap"]}, n_electrons=wrong)
        only_error(calc, "electrons", f"do not fit into {capacity} states")


def test_levels():
    notes = {(f.what, f.level) for f in check_calculation(make({}, fermi_level=None))}
    assert {("fermi level", "note"), ("electrons", "note")} <= notes
    only_error(make(sound(), fermi_level=np.nan), "fermi level", "is no energy")


def test_different_pairs_are_a_note():
    matrices = sound()
    fewer = matrices["overlap"].drop_small(0.5)
    findings = check_calculation(make({**matrices, "overlap": fewer}))
    note = next(f for f in findings if f.what == "pairs")
    assert note.level == "note"
    assert "pairs only in the first" in note.message
    alone = check_calculation(make({"overlap": matrices["overlap"]}))
    assert ("pairs", "no hamiltonian: bands cannot be computed.") in {
        (f.what, f.message) for f in alone
    }


def test_a_matrix_that_cannot_be_read_is_a_finding():
    def cut():
        raise FormatError("h.h5", "cut in the middle", where="entries")

    calc = make({**sound(), "hamiltonian": cut}, n_electrons=None)
    only_error(calc, "hamiltonian", "h.h5 (entries): cut in the middle.")


def test_a_bug_of_a_reader_is_no_finding():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_calculation(make({"hamiltonian": broken}))
