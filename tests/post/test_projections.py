"""Projections, fat bands, and bond populations."""

import json

import lattice_models
import numpy as np
import pytest

import dock
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.post import bands
from dock.post.bonds import Bond, BondProjector, CohpFromLevel, parse_bond
from dock.post.density_matrices import density_matrix
from dock.post.density_of_states import dos
from dock.post.fat_bands import project_bands
from dock.post.fermi import fermi_level
from dock.post.population import mulliken
from dock.post.projections import OrbitalProjector, parse_projection
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Want
from dock.states.stream import states


def test_names_and_what_they_allow(bundled):
    calc = dock.read(bundled / "openmx" / "h2o")
    projector = OrbitalProjector(calc, "atom,shell,m")
    assert projector.names[:5] == ("O1 1s", "O1 2s", "O1 1p(y)", "O1 1p(z)", "O1 1p(x)")
    assert projector.reduction == "time-reversal"
    assert OrbitalProjector(calc, "species,l").reduction == "point-group"
    assert OrbitalProjector(calc, ["l"]).names == ("s", "p")
    spinor = dock.read(bundled / "openmx" / "o2-nc-soc")
    assert OrbitalProjector(spinor, "spin,l").names == ("s up", "p up", "s down", "p down")
    assert OrbitalProjector(spinor, "spin,l").reduction == "none"
    assert parse_projection("l, species") == ("species", "l")
    with pytest.raises(UsageError, match="species, atom, shell"):
        parse_projection("orbital")
    with pytest.raises(UsageError, match="lowdin"):
        OrbitalProjector(calc, "l", "hirshfeld")


@pytest.mark.parametrize("name", ["mos2", "o2-spin", "o2-nc-soc"])
@pytest.mark.parametrize("scheme", ["mulliken", "lowdin"])
def test_shares_of_each_state_sum_to_one(bundled, name, scheme):
    calc = dock.read(bundled / "openmx" / name)
    fat = project_bands(calc, bands(calc, points=4), "atom,m,spin", scheme=scheme)
    assert np.abs(np.nansum(fat.weights, axis=-1) - 1).max() < 1e-8
    if scheme == "lowdin":
        assert np.nanmin(fat.weights) >= 0


def test_projected_occupations_are_the_mulliken_populations(bundled):
    calc = dock.read(bundled / "openmx" / "mos2")
    mesh = make_mesh(calc, (3, 3, 1), reduction="time-reversal")
    smearing = Smearing("gaussian", 0.05)
    result = dos(calc, mesh, method=smearing, step=0.02, project="atom")
    fermi = fermi_level(calc, mesh, smearing=smearing)
    found = mulliken(density_matrix(calc, mesh, fermi=fermi).density, calc.overlap)
    below = result.energies < fermi.level
    counted = result.projected[0][:, below].sum(axis=1) * result.step
    assert np.abs(counted - found.electrons).max() < 1e-3


def test_fat_bands_of_a_window_and_their_files(tmp_path, bundled):
    import h5py

    from dock.post.band_structure import Selection

    calc = dock.read(bundled / "openmx" / "si")
    some = bands(calc, path="LGX", points=6, selection=Selection(window=(-4, 3)))
    fat = project_bands(calc, some, "l")
    everything = project_bands(calc, bands(calc, path="LGX", points=6), "l")
    first, count = some.n_below, some.energies.shape[2]
    expected = everything.weights[:, :, first : first + count]
    here = np.isfinite(some.energies)
    assert here.any()
    # Degenerate states share as they like: their sum is compared.
    difference = np.nansum(np.where(here[..., None], fat.weights - expected, 0), axis=2)
    assert np.abs(difference).max() < 1e-6
    written = fat.save(tmp_path / "band.h5")
    with h5py.File(written[0]) as file:
        assert file["projections"].shape == fat.weights.shape
        assert file["projection_names"].asstr()[()].tolist() == ["s", "p"]
    assert json.loads(written[1].read_text())["projection_names"] == ["s", "p"]
    assert fat.plot(tmp_path / "fat.png").stat().st_size > 1000


# --------------------------------------------------------------------------- bonds


@pytest.mark.parametrize("spin", list(Spin))
def test_all_bonds_together_give_electrons_and_band_energy(spin):
    """Each distinct pair once and on-site terms: ∫COOP = N, ∫COHP = Σ f ε."""
    calc = lattice_models.random_calculation(3, spin, electrons=5.0)
    mesh = KMesh.full((2, 2, 2))
    fermi = fermi_level(calc, mesh, smearing=Smearing(width=0.1))
    bonds = [Bond(i, j) for i in range(3) for j in range(i, 3)]
    present = []
    for bond in bonds:
        pairs = calc.hamiltonian.pairs
        if np.any((pairs.i == bond.i) & (pairs.j == bond.j)):
            present.append(bond)
    for kind, expected in (("coop", 5.0), ("cohp", fermi.band_energy)):
        projector = BondProjector(calc, present, kind)
        result = dos(calc, mesh, method=fermi.method, step=0.5, project=projector, fermi=fermi)
        assert result.names[0].startswith(kind.upper())
        total = 0.0
        for at in states(Problem.of(calc), mesh.points, Want(vectors=True)):
            shares = projector.weights(at.channel, at.k_frac, at.states.vectors)
            total += float(shares.sum(axis=0) @ fermi.occupations[at.channel, at.number])
        assert total == pytest.approx(expected, abs=1e-9)


def test_bond_of_a_dimer_is_bonding_below_and_antibonding_above(bundled):
    calc = dock.read(bundled / "openmx" / "o2-spin")
    coop = dos(calc, (1, 1, 1), project=BondProjector(calc, [Bond(0, 1)]), step=0.05)
    lowest = np.flatnonzero(coop.total[0] > 1e-6)[0]
    assert coop.projected[0, 0, lowest] > 0  # σ(2s)
    second = np.flatnonzero(coop.total[0] > 1e-6)[1]
    assert coop.projected[0, 0, second] < 0  # σ*(2s)
    cohp = dos(calc, (1, 1, 1), project=BondProjector(calc, [Bond(0, 1)], "cohp"), step=0.05)
    assert cohp.projected[0, 0, lowest] < 0


def test_one_lattice_vector_and_all_of_them():
    calc = lattice_models.lattice(1, overlap=0.1, electrons=0.8)
    mesh = KMesh.full((12, 1, 1))
    one = dos(calc, mesh, project=BondProjector(calc, [Bond(0, 0, (1, 0, 0))]), step=0.05)
    every = dos(calc, mesh, project=BondProjector(calc, [Bond(0, 0)]), step=0.05)
    onsite = dos(calc, mesh, project=BondProjector(calc, [Bond(0, 0, (0, 0, 0))]), step=0.05)
    assert np.abs(one.projected + onsite.projected - every.projected).max() < 1e-9
    assert np.abs(every.projected[:, 0] - every.total).max() < 1e-9


@pytest.mark.parametrize("spin", list(Spin))
def test_cohp_from_the_level_that_is_found_from_the_same_states(spin):
    calc = lattice_models.random_calculation(3, spin, electrons=5.0)
    mesh = KMesh.full((2, 2, 2))
    options = {"method": Smearing("gaussian", 0.1), "step": 0.1}
    fermi = fermi_level(calc, mesh, smearing=options["method"])
    bonds = [Bond(0, 1), Bond(1, 1)]
    before = BondProjector(calc, bonds, "cohp", zero=fermi.level)
    expected = dos(calc, mesh, project=before, fermi=fermi, **options)
    found = dos(calc, mesh, project=CohpFromLevel(calc, bonds), **options)
    assert found.names == expected.names
    assert np.abs(found.projected - expected.projected).max() < 1e-9
    # Without a level it counts from zero, as the plain projector does.
    at = next(states(Problem.of(calc), mesh.points[:1], Want(vectors=True)))
    plain = [
        projector.weights(at.channel, at.k_frac, at.states.vectors)
        for projector in (CohpFromLevel(calc, bonds), BondProjector(calc, bonds, "cohp"))
    ]
    assert np.array_equal(*plain)


def test_a_bond_of_the_hamiltonian_alone_has_a_cohp():
    """A pair that the overlap lacks has no S to count from the level."""
    calc = lattice_models.lattice(1, electrons=0.8)
    onsite = lattice_models.lattice(0).overlap
    calc = calc.replace(matrices={"hamiltonian": calc.hamiltonian, "overlap": onsite})
    bond = Bond(0, 0, (1, 0, 0))
    mesh = KMesh.full((4, 1, 1))
    found = dos(calc, mesh, project=CohpFromLevel(calc, [bond]), step=0.1)
    expected = dos(calc, mesh, project=BondProjector(calc, [bond], "cohp"), step=0.1)
    assert np.array_equal(found.projected, expected.projected)


def test_bond_texts_and_errors():
    assert parse_bond("1-3") == Bond(0, 2)
    assert parse_bond("2-1@0,-1,0") == Bond(1, 0, (0, -1, 0))
    for text in ("1", "0-1", "1-2@0,1", "a-b", "1-2@x,y,z"):
        with pytest.raises(UsageError, match="a pair is 1-2"):
            parse_bond(text)
    calc = lattice_models.lattice(1)
    with pytest.raises(UsageError, match="outside"):
        BondProjector(calc, [Bond(0, 1)])
    with pytest.raises(UsageError, match="too far apart"):
        BondProjector(calc, [Bond(0, 0, (3, 0, 0))])
    with pytest.raises(UsageError, match="coop"):
        BondProjector(calc, [Bond(0, 0)], "ipr")
    with pytest.raises(UsageError, match="at least one pair"):
        BondProjector(calc, [])


MOS2 = {
    "Mo-d": [f"Mo d({m})" for m in ("xy", "yz", "z2", "xz", "x2-y2")],
    "S-p+Mo-s": ["S p(x)", "S p(y)", "S p(z)", "Mo s"],
    "pz": ["Mo p(z)", "S p(z)"],
    "S": ["S s", "S p(x)", "S p(y)", "S p(z)"],
    "Mo-dx2-y2": ["Mo d(x2-y2)"],
    "d(z2)": ["Mo d(z2)"],
}


def of_random(projector, size):
    """Return the shares of random vectors by the name of the group."""
    vectors = np.random.default_rng(1).normal(size=(size, 3))
    return dict(zip(projector.names, projector.weights(0, np.zeros(3), vectors), strict=True))


def test_orbitals_in_words(bundled):
    """Groups in words hold what the groups of fields hold, in the order that they are named."""
    mos2 = dock.read(bundled / "openmx" / "mos2")
    size = mos2.basis.n_orbitals
    words = OrbitalProjector(mos2, ",".join(MOS2))
    assert words.names == tuple(MOS2)
    assert words.reduction == "time-reversal"
    assert OrbitalProjector(mos2, "Mo-d,S-p").reduction == "point-group"
    apart = of_random(OrbitalProjector(mos2, "species,m"), size)
    for name, found in of_random(words, size).items():
        np.testing.assert_allclose(found, sum(apart[part] for part in MOS2[name]), atol=1e-12)
    shells = of_random(OrbitalProjector(mos2, "atom,shell,l"), size)
    one = OrbitalProjector(mos2, "S3-2s,2-p,Mo1-1s")
    assert one.reduction == "time-reversal"
    wanted = [shells["S3 2s"], shells["S2 1p"], shells["Mo1 1s"]]
    np.testing.assert_allclose([*of_random(one, size).values()], wanted, atol=1e-12)


def test_words_of_spinors_hold_both_spins(bundled):
    calc = dock.read(bundled / "openmx" / "o2-nc-soc")
    size = 2 * calc.basis.n_orbitals
    apart = of_random(OrbitalProjector(calc, "l"), size)
    found = of_random(OrbitalProjector(calc, "p,s"), size)
    assert list(found) == ["p", "s"]
    for name, values in found.items():
        np.testing.assert_allclose(values, apart[name], atol=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Mo-f", "no orbital 'Mo-f': Mo has s, py, pz, px, dxy"),
        ("N-p", "no N in MoS2. Species: Mo, S; atoms are 1 to 3"),
        ("S-3p", "no orbital 'S-3p': S has s, py"),
        ("7-p", "no 7 in MoS2"),
        ("Mo-q", r"names no orbitals. Words look like C-pz.*species, atom"),
        ("Mo-pw", "The p orbitals are y, z, x"),
        ("Mo-", "names no orbitals"),
        ("Mo-d,,S", "names no orbitals"),
        ("l,Mo-d", r"mixes fields \(l\) with orbitals in words"),
        ("colour", "names no orbitals"),
    ],
)
def test_words_that_mean_nothing(bundled, words, message):
    with pytest.raises(UsageError, match=message):
        OrbitalProjector(dock.read(bundled / "openmx" / "mos2"), words)
