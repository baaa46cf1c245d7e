"""Unfolding: supercells of real crystals give back their own bands, exactly."""

import json

import h5py
import numpy as np
import pytest
from samples import OPENMX, cli, refused
from scipy.linalg import eigh

import dock
from dock.core.basis import Basis, Shell
from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import MissingDataError, OutputError, UsageError
from dock.overlap.assemble import compute_overlap
from dock.overlap.radial import gaussian_radial
from dock.post.band_structure import bands
from dock.post.supercell import find_sites, layers_of, supercell_of
from dock.post.unfold import unfold
from dock.results import KEYS
from dock.states.kpath import KPath


def supercell(calc, matrix, order=None):
    """Return a supercell, its atoms in another order if wanted."""
    found = {name: calc.require(name).supercell(matrix) for name in ("hamiltonian", "overlap")}
    if order is not None:
        found = {name: part.permute_atoms(order) for name, part in found.items()}
    H = found["hamiltonian"]
    return Calculation(H.structure, H.basis, H.spin, found, calc.fermi_level, source="supercell")


def general_path(calc):
    """Return points of no symmetry, so that states that fold together differ in energy."""
    return KPath(
        [6], [[0.03, 0.11, 0.07]], [[0.41, 0.23, -0.31]], (("A", "B"),), cell=calc.structure.cell
    )


CASES = [
    ("si", [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]),
    ("mos2", [[2, 1, 0], [0, 2, 0], [0, 0, 1]]),
    ("graphene-v38", [[3, 2, 0], [0, 1, 0], [0, 0, 1]]),
    ("si", [[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
]


@pytest.mark.parametrize(("system", "matrix"), CASES)
@pytest.mark.parametrize("shuffled", [False, True])
def test_perfect_supercells_have_weights_0_and_1(rng, system, matrix, shuffled):
    calc = dock.read(OPENMX / system)
    path = general_path(calc)
    n_cells = abs(round(np.linalg.det(matrix)))
    order = rng.permutation(n_cells * calc.structure.n_atoms).tolist() if shuffled else None
    result = unfold(supercell(calc, matrix, order), matrix, path)
    weights, exact = result.weights[0], bands(calc, path).energies[0]
    assert result.note == ""
    assert result.n_cells == n_cells
    assert result.primitive.n_atoms == calc.structure.n_atoms
    assert np.abs(weights - np.rint(weights)).max() < 1e-9
    for k in range(path.n_kpoints):
        own = result.energies[0, k][weights[k] > 0.5]
        # The Hamiltonian read from a file is Hermitian to 1e-9 only.
        assert np.abs(own - exact[k]).max() < 1e-8


def test_spin_channels_and_spinors():
    for system in ("o2-spin", "o2-nc-soc"):
        calc = dock.read(OPENMX / system)
        H = calc.require("H")
        result = unfold(supercell(calc, [2, 1, 1]), [2, 1, 1], general_path(calc))
        exact = bands(calc, general_path(calc)).energies
        assert result.energies.shape[0] == H.spin.n_channels
        for spin, k in np.ndindex(*exact.shape[:2]):
            # Folded levels coincide here; the sums over functions of the energy do not care.
            for power in range(4):
                got = np.sum(result.weights[spin, k] * result.energies[spin, k] ** power)
                assert got == pytest.approx(np.sum(exact[spin, k] ** power), rel=1e-9)


def test_weights_at_all_wave_vectors_of_one_state_add_up_to_1(rng):
    calc = dock.read(OPENMX / "graphene-v38")
    big = supercell(calc, [3, 1, 1])
    H = big.require("H")
    # Disorder: the sum rule needs no symmetry at all.
    disturbed = H.with_entries(H.entries + 0.3 * rng.normal(size=H.entries.shape))
    big = Calculation(
        H.structure,
        H.basis,
        H.spin,
        {"hamiltonian": disturbed.hermitian_part(), "overlap": big.require("S")},
    )
    q = np.array([0.05, 0.13, 0.0])
    shifts = [q + np.array([step / 3, 0, 0]) for step in range(3)]
    path = KPath([2, 2], [shifts[0], shifts[2]], [shifts[1], shifts[1]], (("A", "B"), ("C", "B")))
    result = unfold(big, [3, 1, 1], path.with_cell(calc.structure.cell))
    total = result.weights[0, 0] + result.weights[0, 1] + result.weights[0, 2]
    assert np.abs(total - 1).max() < 1e-9
    assert np.abs(result.weights[0, 0] - np.rint(result.weights[0, 0])).max() > 0.05


def test_groups_share_the_weight():
    calc = dock.read(OPENMX / "mos2")
    big = supercell(calc, [2, 1, 1])
    groups = {
        name: [n for n, symbol in enumerate(big.structure.symbols) if symbol == name]
        for name in ("Mo", "S")
    }
    result = unfold(big, [2, 1, 1], general_path(calc), groups=groups)
    assert np.allclose(result.group_weights.sum(axis=0), result.weights, atol=1e-10)
    grid = np.linspace(-60, 60, 4001)
    total = result.spectral(grid, 0.1)
    parts = result.spectral(grid, 0.1, group="Mo") + result.spectral(grid, 0.1, group="S")
    assert np.allclose(total, parts, atol=1e-9)
    step = grid[1] - grid[0]
    inside = (np.abs(result.energies) < 59) * result.weights
    assert total.sum(axis=-1)[0, 0] * step == pytest.approx(inside[0, 0].sum(), abs=0.1)


def test_one_layer_alone():
    """Two decoupled copies far apart: projected on one, half of the states are seen."""
    calc = dock.read(OPENMX / "graphene-v38")
    big = supercell(calc, [2, 1, 2])
    low = [n for n in range(8) if big.structure.positions[n, 2] < big.structure.cell[2, 2] / 2]
    path = general_path(calc)
    result = unfold(big, [2, 1, 1], path, atoms=low)
    exact = bands(calc, path).energies[0]
    for k in range(path.n_kpoints):
        for power in range(3):
            got = np.sum(result.weights[0, k] * result.energies[0, k] ** power)
            assert got == pytest.approx(np.sum(exact[k] ** power), rel=1e-8)


def gaussian_crystal(displaced=0.0, rng=None):
    """Return a chain of two-orbital atoms in a cell of three, H = −T-like from its overlap."""
    positions = np.array([[0.0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]])
    if rng is not None:
        positions = positions + displaced * rng.normal(size=(3, 3))
    structure = Structure(np.diag([6.0, 14, 14]), positions, [6] * 3)
    shells = (
        Shell(0, radial=gaussian_radial(0, 0.6)),
        Shell(1, radial=gaussian_radial(1, 0.7)),
    )
    basis = Basis({"C": shells}, structure.labels)
    S = compute_overlap(structure, basis)
    onsite = np.array([-8.0, -2, -2, -2])
    entries = np.array(S.entries)
    for group in S.layout.groups():
        blocks = S.layout.read(entries, group)
        S.layout.write(entries, group, 0.9 * blocks * (onsite[:, None] + onsite))
    H = dock.AOMatrix("hamiltonian", structure, basis, S.pairs, S.spin, entries)
    return Calculation(structure, basis, H.spin, {"hamiltonian": H, "overlap": S}, -4.0)


def test_moved_functions_agree_with_moved_sites_in_a_perfect_crystal():
    calc = gaussian_crystal()
    path = KPath([5], [[0.02, 0, 0]], [[0.45, 0, 0]], (("A", "B"),), cell=np.diag([2.0, 14, 14]))
    by_sites = unfold(calc, [3, 1, 1], path)
    by_functions = unfold(calc, [3, 1, 1], path, method="functions")
    # p_y and p_z are degenerate: their common weight is what is defined.
    for first, second in zip(by_sites.weights[0], by_functions.weights[0], strict=True):
        assert first.sum() == pytest.approx(4, abs=1e-9)
        assert second.sum() == pytest.approx(4, abs=1e-5)
    assert np.abs(by_sites.weights - by_functions.weights).max() < 1e-5


def test_moved_functions_are_the_fourier_weight(rng):
    """Σ_G |⟨q+G|ψ⟩|² over the primitive reciprocal vectors, by brute force on a grid."""
    calc = gaussian_crystal(0.15, rng)
    q = np.array([0.17, 0.0, 0.0])
    path = KPath([2], [q], [[0.4, 0, 0]], (("A", "B"),), cell=np.diag([2.0, 14, 14]))
    result = unfold(calc, [3, 1, 1], path, method="functions")
    K = np.array([3, 1, 1]) * q
    energies, vectors = eigh(calc.require("H").k(K), calc.require("S").k(K))
    assert np.allclose(energies, result.energies[0, 0], atol=1e-8)
    n = np.array([30, 40, 40])
    axes = [np.arange(m) / m for m in n]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ calc.structure.cell
    alphas = (0.6, 0.7)
    norms = [(2 * 0.6 / np.pi) ** 0.75, (2 * 0.7 / np.pi) ** 0.75 * 2 * np.sqrt(0.7)]
    orbitals = np.zeros((12, len(points)), dtype=complex)
    for atom, place in enumerate(calc.structure.positions):
        for shift in np.ndindex(3, 3, 3):
            R = np.array(shift) - 1
            d = points - place - R @ calc.structure.cell
            phase = np.exp(2j * np.pi * K @ R)
            r2 = (d**2).sum(axis=1)
            s, p = (norm * np.exp(-a * r2) for norm, a in zip(norms, alphas, strict=True))
            parts = [s, p * d[:, 1], p * d[:, 2], p * d[:, 0]]
            orbitals[4 * atom : 4 * atom + 4] += phase * np.array(parts)
    bloch = np.exp(-2j * np.pi * points @ np.linalg.inv(calc.structure.cell) @ K)
    for state in (0, 1, 2, 9, 10, 11):  # the others are degenerate
        u = (vectors[:, state] @ orbitals * bloch).reshape(*n)
        power = np.abs(np.fft.fftn(u)) ** 2
        # Of the supercell's G along x, those that are primitive ones: multiples of 3.
        share = power[::3].sum() / power.sum()
        assert result.weights[0, 0, state] == pytest.approx(share, abs=2e-4)


def test_displaced_atoms_keep_their_sites(rng):
    calc = dock.read(OPENMX / "graphene-v38")
    big = supercell(calc, [3, 3, 1])
    moved = Structure(
        big.structure.cell,
        big.structure.positions + 0.1 * rng.normal(size=(18, 3)),
        big.structure.numbers,
    )
    transform, cell = supercell_of(moved, calc.structure)
    assert transform.tolist() == np.diag([3, 3, 1]).tolist()
    sites = find_sites(moved, cell, transform, calc.structure)
    assert sites.note == ""
    assert np.bincount(sites.site).tolist() == [9, 9]
    # An atom in between belongs to nothing; a foreign one neither.
    positions = np.array(moved.positions)
    positions[4] += 0.8
    numbers = np.array(moved.numbers)
    numbers[7] = 7
    odd = Structure(moved.cell, positions, numbers)
    sites = find_sites(odd, cell, transform, calc.structure)
    assert "2 atoms have no site" in sites.note
    assert sites.primitive.formula in ("C3N", "CC2N", "C2NC")


def test_two_atoms_at_one_site_become_two_sites():
    cell = np.diag([2.0, 9, 9])
    positions = [[0, 0, 0], [0.3, 0.2, 0], [2, 0, 0]]  # the second would be the first's double
    double = Structure(np.diag([4.0, 9, 9]), positions, [6] * 3)
    sites = find_sites(double, cell, np.diag([2, 1, 1]))
    assert sites.site.tolist() == [0, 1, 0]
    assert sites.cell[:, 0].tolist() == [0, 0, 1]
    assert "1 of 2 sites" in sites.note


def test_layers():
    slab = Structure(np.diag([3, 3, 20.0]), [[0, 0, 1], [0, 0, 4], [1, 1, 1.2]], [6, 7, 6])
    assert layers_of(slab) == {"layer 1": [0, 2], "layer 2": [1]}


@pytest.fixture
def folder(tmp_path):
    dock.write(supercell(dock.read(OPENMX / "mos2"), [2, 2, 1]), tmp_path / "big")
    dock.write(dock.read(OPENMX / "mos2"), tmp_path / "unit")
    return tmp_path


def test_command(folder):
    answer = cli(
        *("unfold", folder / "big", "--supercell", "2 2 1", "--points", 8, "--path", "GMKG"),
        *("--layers", "--window", -3, 3, "--plot", folder / "map.png"),
    )
    assert answer.code == 0, answer.err
    assert "4 cells of MoS2" in answer.out
    with h5py.File(folder / "big" / "unfold.h5") as file:
        n_k = len(file["kpoints_frac_list"])
        assert file["spectral/A"].shape[:2] == (1, n_k)
        assert np.nanmax(file["weights"][()]) == pytest.approx(1, abs=1e-6)
        assert np.nanmax(np.abs(file["band_data"][()])) <= 3
        assert file["group_weights"].shape[0] == len(file["group_names"])
    content = json.loads((folder / "big" / "unfold.json").read_text())
    assert content["supercell"] == [[2, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert all(abs(level[2]) <= 3 for level in content["levels"])
    assert (folder / "map.png").stat().st_size > 10_000
    refused(cli("unfold", folder / "big", "--supercell", "2 2 1"), "--overwrite")
    answer = cli(
        *("unfold", folder / "big", "--primitive", folder / "unit", "--atoms", "1-3"),
        *("--points", 3, "--overwrite", "--json"),
    )
    assert json.loads(answer.out)["n_cells"] == 4


def test_the_face_of_the_result(folder, tmp_path):
    """Facts by the keys of the vocabulary, a figure in given axes, a short table, whole files."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    calc = dock.read(folder / "big")
    groups = layers_of(calc.structure)
    result = unfold(calc, [2, 2, 1], "GM", points=3, groups=groups, window=(-2, 2), sigma=0.1)
    assert set(result.json()) <= set(KEYS)
    assert result.json()["segments"] == [{"points": 3, "labels": ["GAMMA", "M"]}]
    assert len(repr(result)) < 200
    assert "4 cells of MoS2" in result._repr_html_()
    figure, axes = pyplot.subplots()
    assert result.plot(ax=axes) is axes
    assert axes.get_title() == "4 cells unfolded"
    assert axes.get_ylim() == (-2, 2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(groups)
    assert axes.images[0].get_array().shape[2:] == (3,)  # colours, in columns between k-points too
    assert axes.images[0].get_array().shape[1] > 3
    assert not axes.child_axes
    pyplot.close(figure)
    one = result.plot(group="layer 1")
    assert [bar.get_ylabel() for bar in one.child_axes] == ["A (1/eV)"]
    assert one.images[0].norm.vmax <= 1 / (0.1 * np.sqrt(2 * np.pi)) + 1e-12
    assert one.get_title() == "4 cells unfolded, layer 1"
    pyplot.close(one.figure)
    files = result.save(tmp_path / "a.h5")
    before = [file.read_bytes() for file in files]
    with pytest.raises(OutputError, match="overwrite=True"):
        result.save(tmp_path / "a.h5")
    assert [file.read_bytes() for file in files] == before
    with h5py.File(files[0]) as file:
        assert file.attrs["n_cells"] == 4
        assert dict(file["spectral"].attrs) == {"unit": "1/eV", "sigma_eV": 0.1}
        assert np.abs(file["spectral/energy"][()]).max() == 2
    result.save(tmp_path / "b.h5", window=(-1, 1), sigma=0.2)
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["spectral"].attrs["sigma_eV"] == file.attrs["sigma_eV"] == 0.2
        assert np.abs(file["spectral/energy"][()]).max() == 1


def test_two_spin_channels_have_two_panels(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    calc = dock.read(OPENMX / "o2-spin")
    result = unfold(supercell(calc, [2, 1, 1]), [2, 1, 1], general_path(calc))
    figure, axes = pyplot.subplots(1, 2)
    result.plot(ax=axes)
    assert [panel.get_title().rpartition(" ")[2] for panel in axes] == ["up", "down"]
    pyplot.close(figure)
    with pytest.raises(UsageError, match="2 axes"):
        result.draw([None])
    image = pyplot.imread(result.plot(tmp_path / "both.png"))
    assert image.shape[:2] == (840, 1920)


def test_bad_input(folder):
    big = folder / "big"
    refused(cli("unfold", big), "--supercell")
    refused(cli("unfold", big, "--supercell", "2 2"), "three or nine")
    refused(cli("unfold", big, "--supercell", "2 x 1"), "three or nine")
    refused(cli("unfold", big, "--supercell", "0 2 1"), "no volume")
    refused(cli("unfold", big, "--supercell", "2 2 1", "--atoms", "0-3"), "from 1 to 12")
    refused(cli("unfold", big, "--supercell", "2 2 1", "--plot", "x.gif"), ".png")
    refused(cli("unfold", big, "--supercell", "2 2 1", "--method", "functions"), "--basis")
    refused(cli("unfold", big, "--supercell", "2 2 1", "--points", 1), "at least 2")
    refused(cli("unfold", big, "--supercell", "2 2 1", "--window", 900, 901), "--window")
    info = json.loads((big / "info.json").read_text())
    (big / "info.json").write_text(json.dumps(info | {"fermi_energy_eV": None}))
    refused(cli("unfold", big, "--supercell", "2 2 1", "--window", -1, 1), "--fermi")
    (big / "info.json").write_text(json.dumps(info))
    calc = dock.read(big)
    with pytest.raises(UsageError, match="does not repeat"):
        unfold(calc, dock.read(OPENMX / "si").structure)
    with pytest.raises(UsageError, match="'sites' or 'functions'"):
        unfold(calc, [2, 2, 1], method="magic")
    with pytest.raises(UsageError, match="whole numbers"):
        unfold(calc, [2.5, 2, 1])
    with pytest.raises(UsageError, match="broadening"):
        unfold(calc, [2, 2, 1], sigma=-1)
    result = unfold(calc, [2, 2, 1], "GM", points=2)
    with pytest.raises(UsageError, match="no group"):
        result.spectral(np.linspace(0, 1, 10), group="C")
    with pytest.raises(UsageError, match="even steps"):
        result.spectral([0, 1, 3])
    with pytest.raises(UsageError, match="broadening"):
        result.spectral([0, 1, 2], 0.0)
    with pytest.raises(UsageError, match="empty"):
        result.plot(folder / "x.png", window=(1, -1))
    without = Calculation(calc.structure, calc.basis, calc.spin, {"overlap": calc.require("S")})
    with pytest.raises(MissingDataError, match="hamiltonian"):
        unfold(without, [2, 2, 1])
