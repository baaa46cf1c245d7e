"""PySCF: against its own eigenvalues, restarts, and files without it."""

import importlib.util
import json
import shutil

import h5py
import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

import dock
from dock.converters import deeph, pyscf as ours
from dock.converters.bloch_mesh import from_mesh, mesh_of, shortest_images, to_mesh
from dock.converters.format import ReadOptions, WriteOptions
from dock.converters.pyscf.arrays import write_arrays
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.check import check_calculation
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import (
    ConventionError,
    DockError,
    FormatError,
    LayoutError,
    MissingDataError,
    UsageError,
)
from dock.grid.grid import make_grid
from dock.overlap.assemble import Integrals
from dock.post import bands, charge_density
from dock.states.kmesh import make_mesh
from dock.units import PYSCF

HARTREE = PYSCF.hartree_ev
SAME = 1e-11  # rounding of a few matrix products
# A folder of tests has the name too: a package without a file of its own is not PySCF.
HAS_PYSCF = getattr(importlib.util.find_spec("pyscf"), "origin", None) is not None
needs_pyscf = pytest.mark.skipif(not HAS_PYSCF, reason="pyscf is not installed")
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

validation = samples.beside(__file__, "validation")


def fresh(mf):
    """Return the same run, not converged yet, at an everyday tolerance."""
    again = mf.copy()
    again.mo_coeff, again.conv_tol, again.chkfile = None, 1e-9, None
    return again


@pytest.fixture(scope="module")
def water():
    from pyscf import dft, gto

    mol = gto.M(atom="O 0 0 0.1; H 0 0 1.06; H 0.93 0.1 -0.24", basis="def2-tzvp", verbose=0)
    mf = dft.RKS(mol, xc="pbe")
    mf.grids.level, mf.conv_tol = 1, 1e-11
    return mf.run()


@needs_pyscf
@quiet
@pytest.mark.slow
def test_validation_rows():
    for system, quantity, found, limit in validation.rows(validation.COARSE):
        assert found <= limit, (system, quantity)


@needs_pyscf
@quiet
def test_molecule_matrices_are_pyscfs(water):
    calc, mol = ours.from_scf(water), water.mol
    fock = water.get_hcore() + water.get_veff(mol, water.make_rdm1())
    for name, expected in (
        ("hamiltonian", fock),
        ("overlap", mol.intor("int1e_ovlp")),
        ("kinetic", mol.intor("int1e_kin")),
        ("position", mol.intor("int1e_r")),
        ("density_matrix", water.make_rdm1()),
    ):
        back = ours.to_pyscf(calc.require(name), mol)
        assert np.abs(back - expected).max() < 1e-13 * max(1.0, np.abs(expected).max())
    assert calc.basis.ls("O") == (0,) * 5 + (1,) * 3 + (2,) * 2 + (3,)
    assert not [finding for finding in check_calculation(calc) if finding.level == "error"]


@needs_pyscf
@quiet
def test_restart_needs_few_cycles(water, tmp_path):
    """SCF from the density that went through a unified folder; atomic start for comparison."""
    dock.write(ours.from_scf(water), tmp_path / "u")
    calc = deeph.read(tmp_path / "u")
    guess = ours.initial_density(calc, water.mol)
    from_guess, from_atoms = fresh(water), fresh(water)
    from_guess.kernel(dm0=guess)
    from_atoms.kernel()
    assert from_guess.cycles <= 2 < from_atoms.cycles
    only_h = calc.replace(
        matrices={name: calc.matrices[name] for name in ("overlap", "hamiltonian")}
    )
    from_h = fresh(water)
    from_h.kernel(dm0=ours.initial_density(only_h, water.mol))
    assert from_h.cycles <= 2


@needs_pyscf
@quiet
def test_atoms_regrouped_by_element_are_matched(tmp_path):
    from pyscf import gto, scf

    mol = gto.M(atom="H 0 0 1.06; O 0 0 0.1; H 0.93 0.1 -0.24", basis="6-31g", verbose=0)
    mf = scf.RHF(mol).run()
    dock.write(ours.from_scf(mf), tmp_path)
    calc = deeph.read(tmp_path)
    assert calc.structure.symbols == ("H", "H", "O")
    assert np.abs(ours.initial_density(calc, mol) - mf.make_rdm1()).max() < SAME
    other = gto.M(atom="H 0 0 1.06; O 0 0 0.2; H 0.93 0.1 -0.24", basis="6-31g", verbose=0)
    with pytest.raises(LayoutError, match="geometries differ"):
        ours.initial_density(calc, other)
    small = gto.M(atom="H 0 0 1.06; O 0 0 0.1; H 0.93 0.1 -0.24", basis="sto-3g", verbose=0)
    with pytest.raises(LayoutError, match="shells"):
        ours.initial_density(calc, small)


@needs_pyscf
@quiet
def test_cartesian_gaussians_are_refused():
    from pyscf import gto, scf

    mol = gto.M(atom="He 0 0 0", basis="cc-pvtz", cart=True, verbose=0)
    with pytest.raises(ConventionError, match="cart"):
        ours.from_scf(scf.RHF(mol).run())
    with pytest.raises(UsageError, match="run"):
        ours.from_scf(scf.RHF(mol))


@needs_pyscf
@quiet
def test_labels_ghosts_and_contractions():
    from pyscf import gto, scf

    mol = gto.M(
        atom="H1 0 0 0; H2 0 0 0.8; GHOST-He 0 0 3",
        basis={"H1": "sto-3g", "H2": "cc-pvdz", "GHOST-He": "sto-3g"},
        verbose=0,
    )
    calc = ours.from_scf(scf.RHF(mol).run())
    assert calc.structure.numbers.tolist() == [1, 1, 0]
    assert (calc.basis.ls("H1"), calc.basis.ls("H2")) == ((0,), (0, 0, 1))
    assert calc.density_matrix.dot(calc.overlap) == pytest.approx(2, abs=1e-10)


@needs_pyscf
@quiet
def test_overlap_is_that_of_the_harmonics():
    """Two shells of any l on two atoms: the overlap turns as dock's harmonics turn."""
    from pyscf import gto, scf

    shells = [[l, (0.6 + 0.1 * l, 1.0)] for l in range(5)]
    direction = np.array([0.48, -0.6, 0.64])
    axis, turned = (
        gto.M(atom=[("He", (0, 0, 0)), ("He", tuple(1.7 * v))], basis={"He": shells}, verbose=0)
        for v in (np.array([0, 0, 1.0]), direction)
    )
    along, tilted = (ours.from_scf(scf.RHF(mol).run()).overlap for mol in (axis, turned))
    first = np.linalg.qr(np.column_stack([direction, [1, 0, 0], [0, 1, 0]]))[0]
    Q = np.column_stack([first[:, 1], first[:, 2], direction])
    Q[:, 0] *= np.sign(np.linalg.det(Q))
    rotated = along.rotate(Q)
    assert np.abs(rotated.entries - tilted.entries).max() < 1e-12


@needs_pyscf
@quiet
@pytest.mark.parametrize("kind", ["KRKS", "KUKS"])
def test_crystal_there_and_back(kind):
    mf = validation.converged(kind)
    calc, cell, kpts = ours.from_scf(mf), mf.cell, mf.kpts
    checked = {
        (finding.what, finding.level): finding.message for finding in check_calculation(calc)
    }
    assert "k-points of the run only" in checked["k-points", "note"]
    assert not [what for what, level in checked if level == "error"]
    assert np.abs(ours.to_pyscf(calc.overlap, cell, kpts) - mf.get_ovlp()).max() < 1e-9
    fock = np.asarray(mf.get_hcore()) + np.asarray(mf.get_veff(cell, mf.make_rdm1()))
    assert np.abs(ours.to_pyscf(calc.hamiltonian, cell, kpts) - fock).max() < 1e-9
    assert np.abs(ours.initial_density(calc, cell, kpts) - mf.make_rdm1()).max() < SAME
    only_h = calc.replace(
        matrices={name: calc.matrices[name] for name in ("overlap", "hamiltonian")}
    )
    guess = ours.initial_density(only_h, cell, kpts)
    assert np.abs(guess - mf.make_rdm1()).max() < 1e-6
    again, atomic = (
        validation.crystal(kind, tolerance=1e-9),
        validation.crystal(kind, tolerance=1e-9),
    )
    atomic.max_cycle = 2
    again.kernel(dm0=guess)
    atomic.kernel()
    assert again.cycles <= 2
    assert not atomic.converged  # from atoms two cycles are not enough


@needs_pyscf
@quiet
def test_gamma_point_crystal(caplog):
    mf = validation.converged("RKS")
    calc = ours.from_scf(mf)
    found = validation.levels(calc, [0, 0, 0])
    assert np.abs(found[0, 0] - mf.mo_energy * HARTREE).max() < 1e-6
    assert "coarse" in caplog.text
    assert calc.only_gamma
    checked = {
        (finding.what, finding.level): finding.message for finding in check_calculation(calc)
    }
    assert "only k = 0 has a meaning" in checked["k-points", "note"]
    assert not [what for what, level in checked if level == "error"]
    assert make_mesh(calc).size == (1, 1, 1)
    with pytest.raises(UsageError, match="no k-point but Γ"):
        bands(calc, "GX", points=2)
    assert ours.initial_density(calc, mf.cell).shape == mf.make_rdm1().shape


@needs_pyscf
@quiet
def test_finer_mesh_makes_better_bands():
    mf = validation.converged()
    k = [[0.1, 0.2, 0.3]]
    coarse = ours.band_error(mf, ours.from_scf(mf), k)
    fine = ours.band_error(mf, validation.finer(), k)
    assert fine < 1e-6 < coarse
    for wrong in ([0, 1, 1], [2, 2]):
        with pytest.raises(UsageError, match="mesh"):
            ours.from_scf(mf, mesh=wrong)


@needs_pyscf
@quiet
def test_shifted_mesh_is_refused():
    mf = validation.crystal()
    mf.kpts = mf.cell.make_kpts([2, 1, 1]) + 0.1
    calc = ours.from_scf(mf.run())
    with pytest.raises(LayoutError, match="Gamma-centred"):
        calc.require("hamiltonian")


@needs_pyscf
@quiet
def test_checkpoint_file_of_the_bundled_run(bundled):
    folder = bundled / "pyscf/h2o"
    reference = json.loads((folder / "reference.json").read_text())
    main = ours.FORMAT.detect(folder)
    assert main == folder / "h2o.chk"
    calc = ours.FORMAT.read(main, ReadOptions())
    expected = np.array(reference["eigenvalues_hartree"]) * HARTREE
    assert np.abs(validation.levels(calc, [0, 0, 0])[0, 0] - expected).max() < 1e-9
    assert calc.density_matrix.dot(calc.overlap) == pytest.approx(10, abs=1e-10)
    labels = [text.split()[2] for text in reference["ao_labels"]]
    assert len(labels) == calc.basis.n_orbitals
    # Nothing in the file says how the run ended: that is said, and not taken for converged.
    assert "converged" not in calc.provenance.extra
    assert [note for note in calc.notes if "does not say whether" in note]
    assert "does not say whether" in samples.cli("check", main).out


@needs_pyscf
@quiet
def test_checkpoint_files_of_crystals(tmp_path):
    for kind in ("KRKS", "KUKS", "KGKS", "RKS"):
        mf = validation.converged(kind)
        shutil.copy(mf.chkfile, tmp_path / f"{kind}.chk")
        calc = ours.FORMAT.read(tmp_path / f"{kind}.chk", ReadOptions())
        live = ours.from_scf(mf)
        assert calc.spin is live.spin
        for name in ("hamiltonian", "density_matrix", "overlap"):
            difference = calc.require(name).entries - live.require(name).entries
            assert np.abs(difference).max() < 1e-6
    assert ours.FORMAT.detect(tmp_path) is None


@needs_pyscf
@quiet
def test_restricted_open_shell_checkpoint_is_refused(tmp_path):
    from pyscf import gto, scf

    mol = gto.M(atom="O 0 0 0; O 0 0 1.2", basis="sto-3g", spin=2, verbose=0)
    mf = scf.ROHF(mol)
    mf.chkfile = str(tmp_path / "o2.chk")
    mf.run()
    with pytest.raises(ConventionError, match="open-shell"):
        ours.FORMAT.read(tmp_path / "o2.chk", ReadOptions())
    calc = ours.from_scf(mf)
    assert calc.spin is Spin.COLLINEAR
    assert calc.density_matrix.dot(calc.overlap) == pytest.approx(16, abs=1e-8)


@needs_pyscf
@quiet
def test_damaged_checkpoint_files(bundled, tmp_path, rng):
    data = (bundled / "pyscf/h2o/h2o.chk").read_bytes()
    path = tmp_path / "x.chk"
    for end in np.linspace(0, len(data) - 1, 20).astype(int):
        path.write_bytes(data[:end])
        assert ours.FORMAT.detect(path) is None
        with pytest.raises(DockError):
            ours.FORMAT.read(path, ReadOptions())
    for place in rng.integers(0, len(data), 40):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            calc = ours.FORMAT.read(path, ReadOptions())
            assert calc.require("hamiltonian").entries.shape == (1, 24 * 24)
        except DockError:
            continue
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        del file["scf/mo_occ"]
    with pytest.raises(FormatError, match="missing"):
        ours.FORMAT.read(path, ReadOptions())


def with_molecule(source, path, change):
    """Copy a checkpoint file with another text of its molecule."""
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        text = change(file["mol"][()].decode())
        del file["mol"]
        file["mol"] = text
    return path


def edited(change):
    def apply(text):
        found = json.loads(text)
        change(found)
        return json.dumps(found)

    return apply


def set_entry(table, row, column, value):
    return edited(lambda found: found[table][row].__setitem__(column, value))


@needs_pyscf
@quiet
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-9], "no JSON text"),
        (lambda _: "[1, 2]", "a JSON object"),
        (edited(lambda found: found.pop("_env")), "a table of numbers as '_env'|finite"),
        (set_entry("_bas", 2, 5, 10**6), "addresses"),
        (set_entry("_bas", 2, 2, -1), "addresses"),
        (set_entry("_bas", 2, 1, 99), "addresses"),
        (set_entry("_bas", 2, 0, 3), "addresses"),
        (set_entry("_atm", 1, 1, -20), "addresses"),
        (set_entry("_bas", 2, 2, 1.5), "finite numbers"),
        (set_entry("_atom", 1, 0, 7), "a name and a position"),
        (set_entry("_atom", 1, 1, [0, 0, 9]), "two that differ"),
        (edited(lambda found: found.update(charge="x")), "a int as 'charge'"),
        (edited(lambda found: found.update(a=[1, 2])), "three lattice vectors"),
        (edited(lambda found: found["_env"].__setitem__(34, 60.0)), "do not belong together"),
    ],
)
def test_a_molecule_that_contradicts_itself(bundled, tmp_path, change, words):
    path = with_molecule(bundled / "pyscf/h2o/h2o.chk", tmp_path / "x.chk", change)
    with pytest.raises(FormatError, match=words):
        ours.FORMAT.read(path, ReadOptions())


@needs_pyscf
@quiet
def test_a_checkpoint_file_runs_no_code(bundled, tmp_path):
    """PySCF evaluates these texts as Python; here they are data that nobody reads."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    change = edited(lambda found: found.update(atom=code, basis=code, ecp=code, pseudo=code))
    path = with_molecule(bundled / "pyscf/h2o/h2o.chk", tmp_path / "x.chk", change)
    assert ours.FORMAT.read(path, ReadOptions()).n_electrons == 10
    path = with_molecule(bundled / "pyscf/h2o/h2o.chk", tmp_path / "y.chk", lambda _: code)
    with pytest.raises(FormatError, match="no JSON text"):
        ours.FORMAT.read(path, ReadOptions())
    assert not (tmp_path / "ran").exists()


def test_detection_leaves_foreign_files_alone(bundled, tmp_path):
    assert ours.FORMAT.detect(bundled / "openmx/si") is None
    assert ours.FORMAT.detect(tmp_path / "nothing") is None
    (tmp_path / "x.chk").write_text("no HDF5")
    assert ours.FORMAT.detect(tmp_path / "x.chk") is None


@needs_pyscf
@quiet
@pytest.mark.shared
@pytest.mark.slow
def test_reference_rows(shared):
    """Stored water and diamond (which takes minutes to be run again), and the public runs."""
    rows = list(validation.reference_rows(shared))
    assert len(rows) >= 8
    assert [row for row in rows if not row[2] <= row[3]] == []


def test_arrays_for_machines_without_dock(bundled, tmp_path):
    calc = dock.read(bundled / "openmx/h2o")
    kept = {name: calc.matrices[name] for name in ("overlap", "hamiltonian")}
    options = WriteOptions(quantities=("overlap", "hamiltonian"))
    write_arrays(calc.replace(matrices=kept), tmp_path, options)
    with np.load(tmp_path / "pyscf.npz") as data:
        density, overlap = data["density_matrix"], data["overlap"]
    assert np.einsum("ij,ji", density, overlap) == pytest.approx(calc.n_electrons, abs=1e-9)
    assert (tmp_path / "PYSCF.txt").is_file()


def test_arrays_of_a_crystal_need_a_mesh(bundled, tmp_path):
    calc = dock.read(bundled / "openmx/si")
    names = ("overlap", "hamiltonian", "density_matrix")
    for text in (None, "2,2", "a,b,c", "0,1,1"):
        wrong = {} if text is None else {"mesh": text}
        with pytest.raises(UsageError, match="mesh"):
            write_arrays(calc, tmp_path, WriteOptions(quantities=names, settings=wrong))
    write_arrays(calc, tmp_path, WriteOptions(quantities=names, settings={"mesh": "2,2,2"}))
    with np.load(tmp_path / "pyscf.npz") as data:
        assert data["fock"].shape == (8, calc.basis.n_orbitals, calc.basis.n_orbitals)
        assert data["mesh"].tolist() == [2, 2, 2]
        overlap, k_frac = data["overlap"], data["k_frac"]
    expected = KBuilder(calc.overlap).dense(k_frac[3])
    eigenvalues = [np.linalg.eigvalsh(matrix) for matrix in (overlap[3], expected)]
    assert np.abs(eigenvalues[0] - eigenvalues[1]).max() < 1e-12


def test_no_density_without_electrons(bundled):
    calc = dock.read(bundled / "openmx/h2o")
    nothing = Calculation(
        calc.structure, calc.basis, calc.spin, {"overlap": calc.overlap}, source="a test"
    )
    from dock.converters.pyscf.native import density_from_hamiltonian

    with pytest.raises(MissingDataError, match="number of electrons"):
        density_from_hamiltonian(nothing, [[0, 0, 0]])


@settings(max_examples=30, deadline=None)
@given(
    mesh=st.tuples(*(st.integers(1, 4),) * 3),
    seed=st.integers(0, 2**31),
    shift=st.integers(-3, 3),
)
def test_mesh_and_real_space_are_inverse(mesh, seed, shift):
    """Bloch matrices on any mesh survive the way to real space and back."""
    rng = np.random.default_rng(seed)
    structure = Structure(np.eye(3) * 3 + rng.random((3, 3)), rng.random((2, 3)) * 3, [1, 6])
    basis = Basis.from_ls({"H": [0], "C": [0, 1]}, structure.labels)
    n_k = int(np.prod(mesh))
    bloch = rng.standard_normal((2, n_k, 5, 5)) + 1j * rng.standard_normal((2, n_k, 5, 5))
    pairs = shortest_images(structure, mesh).pairs
    entries = from_mesh(bloch, mesh, basis, pairs)
    assert np.allclose(to_mesh(entries, mesh, basis, pairs), bloch, atol=1e-12)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in mesh), indexing="ij"), -1).reshape(-1, 3)
    order = rng.permutation(n_k)
    found, place = mesh_of(grid[order] / np.array(mesh) + shift)
    assert found == mesh
    assert np.array_equal(place, order)


@given(mesh=st.tuples(*(st.integers(1, 4),) * 3))
@settings(max_examples=20, deadline=None)
def test_weights_of_images_sum_to_the_mesh(mesh):
    structure = Structure(np.diag([3.0, 3.0, 4.0]), [[0, 0, 0], [1.5, 1.5, 2]], [1, 6])
    images = shortest_images(structure, mesh)
    assert images.weights.sum() == pytest.approx(4 * np.prod(mesh))
    assert images.pairs.is_closed


def test_incomplete_meshes_are_refused():
    with pytest.raises(LayoutError, match="mesh"):
        mesh_of([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    with pytest.raises(LayoutError, match="mesh"):
        mesh_of([[0.1, 0, 0]])


@needs_pyscf
@quiet
@pytest.mark.shared
def test_agrees_with_the_expected_unified_folder(shared):
    """Water in cc-pVDZ; the expected folder was made with B3LYP (its README says PBE)."""
    from pyscf import dft, gto

    expected = deeph.read(shared / "public/pyscf/H2O/reference")
    structure = expected.structure
    atoms = list(zip(structure.symbols, structure.positions.tolist(), strict=True))
    mf = dft.RKS(gto.M(atom=atoms, basis="cc-pvdz", verbose=0), xc="b3lyp")
    mf.conv_tol = 1e-10
    calc = ours.from_scf(mf.run())
    assert np.abs((calc.overlap - expected.overlap).entries).max() < 1e-14
    # the eV of the two programs differ by 1e-8, their convergence by more
    assert np.abs((calc.hamiltonian - expected.hamiltonian).entries).max() < 2e-4


@needs_pyscf
@quiet
def test_density_on_a_grid_is_that_of_pyscf(water, tmp_path, bundled):
    """The Gaussians are radial functions: ρ at points, and S, as PySCF has them."""
    from pyscf.dft import numint

    calc = ours.from_scf(water)
    shells = [shell for label in calc.basis.species for shell in calc.basis.shells[label]]
    assert all(shell.radial is not None for shell in shells)
    integrals = Integrals.prepare(calc.structure, calc.basis, pairs=calc.overlap.pairs)
    apart = integrals.matrix("overlap", jobs=1).entries - calc.overlap.entries
    assert np.abs(apart).max() < 1e-9

    grid = make_grid(calc.structure, spacing=0.7)
    density = charge_density(calc.density_matrix, grid).part("total")
    points = np.indices(grid.shape).reshape(3, -1).T / np.array(grid.shape)
    points = (points - np.rint(points)) @ calc.structure.cell  # the box repeats, the molecule not
    orbitals = numint.eval_ao(water.mol, points / PYSCF.bohr_angstrom)
    told = numint.eval_rho(water.mol, orbitals, water.make_rdm1()) / PYSCF.bohr_angstrom**3
    np.testing.assert_allclose(density.ravel(), told, rtol=1e-8, atol=1e-8)

    chk = bundled / "pyscf" / "h2o" / "h2o.chk"
    answer = samples.cli("charge-density", chk, "--spacing", 0.5, "-o", tmp_path / "rho.h5")
    assert answer.code == 0, answer
    assert "cores of atoms" in answer.err
