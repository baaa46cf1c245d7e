"""Density matrices: definition, sums, the codes' own, and poles against diagonalisation."""

import json
import lzma
import shutil

import face
import h5py
import lattice_models
import numpy as np
import pytest

import dock
from dock.core.spin import Spin
from dock.errors import ConvergenceError, MissingDataError, OutputError, SolverError, UsageError
from dock.post import density_matrices
from dock.post.density_matrices import density_matrix, plan_density
from dock.post.fermi import fermi_level
from dock.post.population import mulliken, populations
from dock.states.kmesh import KMesh, make_mesh
from dock.states.memory import Allowance
from dock.states.smearing import Smearing
from dock.units import OPENMX

OPENMX_KELVIN = 8.617251324e-5  # eV/K with that program's Hartree
SPINS = list(Spin)
FILES = ["si", "mos2", "graphene-v38", "o2-spin", "co-f", "h2o", "o2-nc-soc"]


def openmx_density(folder, **options):
    """The density matrix on the mesh and at the temperature of the run."""
    reference = json.loads((folder / "reference.json").read_text())
    calc = dock.read(folder)
    reduction = "none" if calc.spin is Spin.NONCOLLINEAR else "time-reversal"
    mesh = make_mesh(calc, reference["kgrid"], centring="openmx", reduction=reduction)
    smearing = Smearing(width=reference["electronic_temperature_K"] * OPENMX_KELVIN)
    return calc, reference, density_matrix(calc, mesh, smearing=smearing, **options)


@pytest.mark.parametrize("spin", SPINS)
@pytest.mark.parametrize("seed", range(3))
def test_definition(spin, seed):
    """P(R) = Σ_k w Σ_n f c c† exp(−2πi k·R), summed by brute force."""
    calc = lattice_models.random_calculation(seed, spin)
    mesh = KMesh.full((3, 2, 1))
    result = density_matrix(calc, mesh, smearing=Smearing(width=0.3), energy_weighted=True)
    fermi = fermi_level(calc, mesh, smearing=Smearing(width=0.3))
    n = calc.basis.n_orbitals
    expected = {}
    for k, weight in zip(mesh.points, mesh.weights, strict=True):
        H, S = calc.hamiltonian.k(k), calc.overlap.k(k)
        parts = H if spin is Spin.COLLINEAR else [H]
        S = np.kron(np.eye(2), S) if spin is Spin.NONCOLLINEAR else S
        for channel, part in enumerate(parts):
            root = np.linalg.inv(np.linalg.cholesky(S))
            e, c = np.linalg.eigh(root @ part @ root.conj().T)
            c = root.conj().T @ c
            f = fermi.method.occupation(e, fermi.level) * weight * spin.degeneracy
            expected[channel, tuple(k)] = (c * f) @ c.conj().T
    for index, (R, i, j) in enumerate(
        zip(result.density.pairs.R, result.density.pairs.i, result.density.pairs.j, strict=True)
    ):
        if index % 5:
            continue
        rows = slice(*calc.basis.offsets[i : i + 2])
        cols = slice(*calc.basis.offsets[j : j + 2])
        found = np.atleast_3d(result.density.block(R, i, j).T).T
        for component in range(len(found)):
            s, t = divmod(component, 2) if spin is Spin.NONCOLLINEAR else (0, 0)
            channel = component if spin is Spin.COLLINEAR else 0
            total = sum(
                P[s * n :, t * n :][rows, cols] * np.exp(-2j * np.pi * np.dot(k, R))
                for (which, k), P in expected.items()
                if which == channel
            )
            assert np.abs(total - found[component]).max() < 1e-11
    assert result.n_electrons == pytest.approx(6, abs=1e-10)
    assert result.band_energy == pytest.approx(fermi.band_energy, abs=1e-9)
    assert result.energy_density.dot(calc.overlap) == pytest.approx(fermi.band_energy, abs=1e-9)
    assert result.density.hermiticity_error() < 1e-12


@pytest.mark.parametrize("name", FILES)
def test_density_matrix_of_openmx(bundled, name):
    """The code's own, entry by entry, on its mesh (1e-6 is asked for)."""
    calc, reference, result = openmx_density(bundled / "openmx" / name)
    assert np.abs((result.density - calc.density_matrix).entries).max() < 5e-9
    assert result.n_electrons == pytest.approx(calc.n_electrons, abs=1e-10)
    energy = result.band_energy / OPENMX.hartree_ev
    assert energy == pytest.approx(reference["band_energy_Uele_Ha"], abs=1e-9)


def test_spin_orbit_parts_that_the_old_file_lacks(bundled):
    """OpenMX 3.8 does not store Im ρ_uu and Im ρ_dd; all else agrees, and they are computed."""
    calc, _, result = openmx_density(bundled / "openmx" / "o2-nc-soc-v38")
    stored = calc.density_matrix.entries
    missing = np.zeros(stored.shape, dtype=bool)
    missing[[0, 3]] = True
    difference = result.density.entries - stored
    assert np.abs(np.where(missing, difference.real, difference)).max() < 5e-9
    assert np.abs(stored[0].imag).max() == 0 < np.abs(result.density.entries[0].imag).max()


@pytest.mark.parametrize("name", FILES)
def test_populations_of_openmx(bundled, name):
    """To the digits that the code prints; the last of nine depends on its convergence."""
    calc, reference, result = openmx_density(bundled / "openmx" / name)
    found = mulliken(result.density, calc.overlap)
    printed = 6e-6 if name == "o2-nc-soc" else 5e-9
    for row, electrons, moment in zip(
        reference["mulliken"], found.electrons, found.moments, strict=True
    ):
        assert electrons == pytest.approx(row["total"], abs=printed)
        assert np.linalg.norm(moment) == pytest.approx(abs(row["diff"]), abs=printed)
        if "theta_deg" in row:
            theta, phi = np.radians(row["theta_deg"]), np.radians(row["phi_deg"])
            axis = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
            assert np.abs(moment / np.linalg.norm(moment) - axis).max() < 2e-6


@pytest.mark.shared
@pytest.mark.parametrize("name", ["h2o", "si2", "o2", "graphene", "fe_bcc", "bilayer_AB"])
def test_density_matrix_of_siesta(shared, name):
    """The code's own, on its k-points, where its file has an entry (1e-5 is asked for)."""
    folder = shared / "fixtures" / "siesta" / name
    reference = json.loads((folder / "reference.json").read_text())
    calc = dock.read(folder / f"{name}.v2.HSX", "siesta")
    points, weights = np.array(reference["k_frac"]), np.array(reference["k_weight"])
    mesh = KMesh(
        (len(points), 1, 1), (0, 0, 0), points, weights / weights.sum(), np.arange(len(points))
    )
    width = reference["temp_Ry"] * reference["Ry_eV_used_by_siesta"]
    result = density_matrix(calc, mesh, smearing=Smearing(width=width))
    mine, theirs = result.density.aligned(calc.density_matrix)
    stored = np.any(theirs.entries != 0, axis=0)
    assert np.abs((mine.entries - theirs.entries)[:, stored]).max() < 1e-6
    assert result.band_energy == pytest.approx(reference["sum_f_eps_eV_from_EIG"], abs=3e-6)


@pytest.mark.parametrize("name", ["si", "mos2", "o2-spin", "o2-nc-soc"])
def test_a_reduced_mesh_gives_the_density_of_the_whole(bundled, name):
    calc = dock.read(bundled / "openmx" / name)
    size = (4, 4, 1) if name == "mos2" else (3, 3, 2)
    whole = density_matrix(calc, make_mesh(calc, size, reduction="none"))
    mesh = make_mesh(calc, size)
    reduced = density_matrix(calc, mesh)
    assert mesh.n_points < mesh.n_full
    # H itself obeys its operations to 1e-5 eV only.
    assert np.abs((whole.density - reduced.density).entries).max() < 2e-6


def test_a_model_with_exact_symmetry():
    calc = lattice_models.lattice(3, overlap=0.04, electrons=0.9)
    whole = density_matrix(calc, make_mesh(calc, (4, 4, 4), reduction="none"))
    reduced = density_matrix(calc, (4, 4, 4))
    assert np.abs((whole.density - reduced.density).entries).max() < 1e-13


# --------------------------------------------------------------------------- poles


@pytest.mark.parametrize("name", ["h2o", "si", "mos2", "graphene-v38", "o2-spin", "o2-nc-soc"])
def test_poles_equal_diagonalisation(bundled, name):
    """Molecules, an insulator, a metal, spin and spin–orbit, at the same smearing."""
    calc = dock.read(bundled / "openmx" / name)
    size = {"si": (2, 2, 2), "mos2": (3, 3, 1), "graphene-v38": (3, 3, 1)}.get(name, (1, 1, 1))
    options = {"smearing": Smearing(width=0.08), "energy_weighted": True}
    direct = density_matrix(calc, size, method="eigen", **options)
    poles = density_matrix(calc, size, method="poles", **options)
    assert np.abs((poles.density - direct.density).entries).max() < 1e-8
    assert np.abs((poles.energy_density - direct.energy_density).entries).max() < 1e-6
    assert poles.n_electrons == pytest.approx(calc.n_electrons, abs=1e-8)
    assert poles.band_energy == pytest.approx(direct.band_energy, abs=1e-7)
    facts = poles.facts()
    assert facts["poles"] <= 21
    assert abs(poles.n_electrons - calc.n_electrons) < facts["electrons_error_bound"]


def test_poles_take_the_hermitian_part_and_say_so(bundled, caplog):
    """A predicted H was asymmetric by 4e-7 eV: half of an inverse then misses electrons."""
    calc = dock.read(bundled / "openmx" / "si")
    noise = np.random.default_rng(1).uniform(-1, 1, calc.hamiltonian.entries.shape)

    def noisy(size):
        broken = calc.hamiltonian.with_entries(calc.hamiltonian.entries + size * noise)
        return calc.replace(matrices={"H": broken, "S": calc.overlap})

    found = density_matrix(noisy(2e-7), (1, 1, 1), method="poles")
    assert "deviates from its adjoint" in caplog.text
    mended = noisy(2e-7).hamiltonian.hermitian_part()
    wanted = calc.replace(matrices={"H": mended, "S": calc.overlap})
    direct = density_matrix(wanted, (1, 1, 1), method="eigen")
    assert np.abs((found.density - direct.density).entries).max() < 1e-8
    with pytest.raises(SolverError, match="not Hermitian") as caught:
        density_matrix(noisy(1e-3), (1, 1, 1), method="poles")
    assert caught.value.exit_code == 2


def test_the_method_is_planned_and_what_has_no_room_is_refused(bundled, monkeypatch):
    calc = dock.read(bundled / "openmx" / "si")
    plans = []
    density_matrix(calc, (1, 1, 1), method="poles", planned=plans.append)
    density_matrix(calc, (1, 1, 1), planned=plans.append)
    assert [plan.solver for plan in plans] == ["poles", "eigen"]
    assert all(plan.memory_bytes > 0 and plan.seconds > 0 for plan in plans)
    monkeypatch.setattr(density_matrices, "LARGE", 1)
    planned = plan_density(calc, (1, 1, 1))
    both = [plan_density(calc, (1, 1, 1), method=name) for name in ("eigen", "poles")]
    assert planned.solver == min(both, key=lambda plan: plan.seconds).solver
    room = Allowance(both[1].memory_bytes - 1, "a limit")
    monkeypatch.setattr(density_matrices, "allowance", lambda: room)
    with pytest.raises(UsageError, match="has no room: 'poles' needs 1 MB") as caught:
        density_matrix(calc, (1, 1, 1), method="poles")
    assert caught.value.exit_code == 2


@pytest.mark.shared
def test_poles_of_a_twisted_cell_with_an_asymmetric_hamiltonian(shared, tmp_path):
    """28 atoms; a predicted H of such a cell was asymmetric by 4e-7 eV, and found no level."""
    folder = shared / "fixtures" / "siesta" / "tbg_scf_m1"
    for name in ("tbgscf_m1.XV", "tbgscf_m1.EIG", "tbgscf_m1.fdf"):
        shutil.copy(folder / name, tmp_path)
    packed = (folder / "tbgscf_m1.HSX.xz").read_bytes()
    (tmp_path / "tbgscf_m1.HSX").write_bytes(lzma.decompress(packed))
    calc = dock.read(tmp_path, "siesta")
    noise = np.random.default_rng(1).uniform(-2e-7, 2e-7, calc.hamiltonian.entries.shape)
    uneven = calc.hamiltonian.with_entries(calc.hamiltonian.hermitian_part().entries + noise)
    whole = {"H": uneven, "S": calc.overlap}
    found = density_matrix(calc.replace(matrices=whole), (1, 1, 1), method="poles")
    even = {"H": uneven.hermitian_part(), "S": calc.overlap.hermitian_part()}
    direct = density_matrix(calc.replace(matrices=even), (1, 1, 1), method="eigen")
    assert np.abs((found.density - direct.density).entries).max() < 1e-8
    assert found.n_electrons == pytest.approx(calc.n_electrons, abs=1e-7)
    assert found.settings["poles"] <= 20


@pytest.mark.parametrize("spin", SPINS)
@pytest.mark.parametrize("seed", range(2))
def test_poles_find_the_level_of_a_metal(spin, seed):
    calc = lattice_models.random_calculation(seed, spin)
    smearing = Smearing(width=0.2)
    mesh = KMesh.full((2, 2, 1))
    direct = density_matrix(calc, mesh, smearing=smearing)
    poles = density_matrix(calc, mesh, smearing=smearing, method="poles")
    assert poles.fermi_level == pytest.approx(direct.fermi_level, abs=1e-8)
    assert np.abs((poles.density - direct.density).entries).max() < 1e-8


def test_what_poles_refuse(bundled):
    calc = dock.read(bundled / "openmx" / "h2o")
    with pytest.raises(UsageError, match="fermi-dirac"):
        density_matrix(calc, (1, 1, 1), method="poles", smearing="tetrahedra")
    with pytest.raises(UsageError, match="S threshold"):
        density_matrix(calc, (1, 1, 1), method="poles", s_threshold=1e-4)
    for number in (0, -5):
        with pytest.raises(UsageError, match="1 or more"):
            density_matrix(calc, (1, 1, 1), method="poles", poles=number)
    with pytest.raises(ConvergenceError, match="2 poles do not represent") as caught:
        density_matrix(calc, (1, 1, 1), method="poles", poles=2)
    assert caught.value.exit_code == 4
    with pytest.raises(UsageError, match="'eigen' or 'poles'"):
        density_matrix(calc, (1, 1, 1), method="purification")
    with pytest.raises(MissingDataError, match="electrons=N"):
        density_matrix(lattice_models.lattice(1, electrons=None), (2, 1, 1), method="poles")


def test_poles_refuse_what_is_unsound():
    with pytest.raises(SolverError, match="not positive definite"):
        density_matrix(lattice_models.lattice(1, overlap=0.7), (2, 1, 1), method="poles")
    calc = lattice_models.lattice(1)
    entries = calc.hamiltonian.entries.copy()
    entries[0, 0] = np.nan
    broken = calc.replace(matrices={"H": calc.hamiltonian.with_entries(entries), "S": calc.overlap})
    with pytest.raises(SolverError, match="NaN"):
        density_matrix(broken, (1, 1, 1), method="poles")


# --------------------------------------------------------------------------- populations, files


@pytest.mark.parametrize("spin", SPINS)
def test_both_schemes_count_all_electrons_and_agree_without_overlap(spin):
    calc = lattice_models.lattice(2, spin=spin, field=0.4, electrons=0.9)
    mesh = make_mesh(calc, (6, 6, 1), reduction="none")
    by_mulliken = populations(calc, mesh)
    by_lowdin = populations(calc, mesh, scheme="lowdin")
    assert by_mulliken.total[0] == pytest.approx(0.9, abs=1e-10)
    assert np.abs(by_mulliken.orbitals - by_lowdin.orbitals).max() < 1e-12
    if spin is not Spin.NONE:
        assert by_mulliken.moments[0, 2] > 0.1
        assert np.abs(by_mulliken.moments[0, :2]).max() < 1e-12


def test_lowdin_of_a_rotated_molecule_is_the_same(bundled):
    calc = dock.read(bundled / "openmx" / "o2-nc-soc")
    found = populations(calc, (1, 1, 1), scheme="lowdin")
    assert found.total[0] == pytest.approx(12, abs=1e-9)
    assert np.linalg.norm(found.total[1:]) == pytest.approx(2, abs=1e-3)
    assert [l for _, _, l, _ in found.shells] == [0, 0, 1] * 2
    assert sum(row[0] for *_, row in found.shells) == pytest.approx(12, abs=1e-9)


def test_population_errors_and_files(tmp_path, bundled):
    calc = dock.read(bundled / "openmx" / "o2-spin")
    with pytest.raises(UsageError, match="scheme"):
        populations(calc, (1, 1, 1), scheme="bader")
    with pytest.raises(UsageError, match="not from a given"):
        populations(calc, (1, 1, 1), scheme="lowdin", density=calc.density_matrix)
    fermi = fermi_level(calc, make_mesh(calc, (3, 1, 1)))
    with pytest.raises(UsageError, match="whole mesh"):
        populations(calc, scheme="lowdin", fermi=fermi)
    found = populations(calc, density=calc.density_matrix)
    written = found.save(tmp_path / "populations.h5")
    content = json.loads(written[1].read_text())
    assert content["atoms"][0]["moment_muB"][2] == pytest.approx(1, abs=1e-6)
    assert found.plot(tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("spin", SPINS)
def test_the_face_of_populations(tmp_path, spin):
    calc = lattice_models.random_calculation(1, spin)
    result = populations(calc, (2, 2, 1))
    files = face.holds(result, tmp_path / "populations.h5")
    assert [file.name for file in files] == ["populations.h5", "populations.json"]
    content = json.loads(files[1].read_text())
    assert content == result.json(arrays=False)  # short: --json prints all of it
    assert content["n_electrons"] == pytest.approx(6)
    assert sum(row["electrons"] for row in content["atoms"]) == pytest.approx(6)
    assert sum(row["electrons"] for row in content["shells"]) == pytest.approx(6)
    assert min(row["atom"] for row in content["shells"]) == 1
    with h5py.File(files[0]) as file:
        assert file["orbitals"].shape == (calc.basis.n_orbitals, 4)
        assert file.attrs["columns"].startswith("electrons, m_x")
    assert result.table().splitlines()[-1].startswith("sum")


def test_the_face_of_a_density_matrix(tmp_path):
    calc = lattice_models.random_calculation(0, Spin.NONE)
    result = density_matrix(calc, (2, 1, 1), energy_weighted=True)
    files = face.holds(result, tmp_path / "rho.h5")
    assert [file.name for file in files] == ["rho.h5", "energy_rho.h5", "rho.json"]
    files[0].unlink()
    files[2].unlink()
    with pytest.raises(OutputError, match=r"energy_rho\.h5"):
        result.save(tmp_path / "rho.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["energy_rho.h5"]


def test_progress_counts_both_diagonalisations():
    calls = []
    calc = lattice_models.random_calculation(0, Spin.COLLINEAR)
    density_matrix(calc, (2, 1, 1), progress=lambda *step: calls.append(step))
    n = 2 * make_mesh(calc, (2, 1, 1)).n_points
    assert calls == [(k, 2 * n) for k in range(1, 2 * n + 1)]


def test_saved_density_is_read_again(tmp_path, bundled):
    calc = dock.read(bundled / "openmx" / "o2-nc-soc")
    result = density_matrix(calc, (2, 1, 1), energy_weighted=True)
    result.save(tmp_path / "folder")
    again = dock.read(tmp_path / "folder")
    assert np.abs((again.density_matrix - result.density).entries).max() < 1e-15
    assert again.get("EDM").dot(again.overlap) == pytest.approx(result.band_energy, abs=1e-8)
    written = density_matrix(again, (2, 1, 1)).save(tmp_path / "folder" / "density_matrix2.h5")
    assert json.loads(written[-1].read_text())["n_electrons"] == pytest.approx(12)
    assert result.plot(tmp_path / "decay.png").stat().st_size > 1000
