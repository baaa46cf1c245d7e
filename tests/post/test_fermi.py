"""The Fermi level: closed forms, the codes' own numbers, caching, and what is refused."""

import json

import lattice_models
import numpy as np
import pytest

import dock
from dock.core.spin import Spin
from dock.errors import MissingDataError, OutputError, SolverError, UsageError
from dock.post.fermi import fermi_level
from dock.post.fermi_files import load_spectrum
from dock.states.kmesh import make_mesh
from dock.states.smearing import Smearing
from dock.units import OPENMX

ALL = [
    Smearing("fermi-dirac", 0.05),
    Smearing("gaussian", 0.1),
    Smearing("methfessel-paxton", 0.1, 2),
    Smearing("cold", 0.1),
    "tetrahedra",
]
OPENMX_KELVIN = 8.617251324e-5  # eV/K with that program's Hartree


@pytest.mark.parametrize("method", ALL)
def test_half_filled_square_lattice_has_its_level_at_zero(method):
    result = fermi_level(lattice_models.lattice(2), (24, 24, 1), smearing=method)
    assert abs(result.level) < 1e-8 if method != ALL[3] else abs(result.level) < 0.05
    assert result.counted == pytest.approx(1, abs=1e-10)
    assert result.gap.kind == "metal"
    # Exact: −16/π² per electron for both spins of one electron.
    assert result.band_energy == pytest.approx(-16 / np.pi**2, abs=0.02)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("electrons", [0.1, 0.7, 1.3, 1.95])
def test_any_count_is_met(method, electrons):
    calc = lattice_models.lattice(3, overlap=0.05, electrons=electrons)
    result = fermi_level(calc, (6, 6, 6), smearing=method)
    assert result.counted == pytest.approx(electrons, abs=1e-9)


def test_chain_at_any_filling_in_closed_form():
    # N electrons of a chain: k_F = π N/2, E_F = −2 cos k_F.
    calc = lattice_models.lattice(1, electrons=0.6)
    result = fermi_level(calc, (400, 1, 1), smearing="tetrahedra")
    assert result.level == pytest.approx(-2 * np.cos(0.3 * np.pi), abs=1e-4)


def test_insulators_get_the_middle_of_the_gap(bundled):
    calc = dock.read(bundled / "openmx" / "si")
    for method in (Smearing("fermi-dirac", 0.01), Smearing("cold", 0.05), "tetrahedra"):
        result = fermi_level(calc, (6, 6, 6), smearing=method)
        assert result.gap.kind == "insulator"
        middle = 0.5 * (result.gap.vbm.energy + result.gap.cbm.energy)
        assert result.level == pytest.approx(middle, abs=1e-12)


def test_collinear_field_gives_a_moment():
    calc = lattice_models.lattice(2, spin=Spin.COLLINEAR, field=10.0, electrons=1.0)
    result = fermi_level(calc, (8, 8, 1))
    assert result.gap.kind == "insulator"
    assert result.spin_moment == pytest.approx(1, abs=1e-10)
    spinor = lattice_models.lattice(2, spin=Spin.NONCOLLINEAR, field=10.0, electrons=1.0)
    assert fermi_level(spinor, (8, 8, 1)).level == pytest.approx(result.level, abs=1e-10)


def test_entropy_of_a_half_filled_level():
    result = fermi_level(lattice_models.lattice(0), (1, 1, 1), smearing=Smearing(width=0.1))
    assert result.entropy_energy == pytest.approx(-2 * 0.1 * np.log(2))


@pytest.mark.parametrize(
    "name", ["si", "mos2", "graphene-v38", "o2-spin", "co-f", "h2o", "o2-nc-soc"]
)
def test_band_energy_of_openmx(bundled, name):
    """`Uele` of the code on its own mesh, to far better than 1e-6 Hartree."""
    folder = bundled / "openmx" / name
    reference = json.loads((folder / "reference.json").read_text())
    calc = dock.read(folder)
    spinor = calc.spin is Spin.NONCOLLINEAR
    mesh = make_mesh(
        calc,
        reference["kgrid"],
        centring="openmx",
        reduction="none" if spinor else "time-reversal",
    )
    width = reference["electronic_temperature_K"] * OPENMX_KELVIN
    result = fermi_level(calc, mesh, smearing=Smearing(width=width))
    energy = result.band_energy / OPENMX.hartree_ev
    assert energy == pytest.approx(reference["band_energy_Uele_Ha"], abs=1e-9)
    if result.spin_moment is not None:
        assert result.spin_moment == pytest.approx(reference["total_spin_moment_muB"], abs=1e-8)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["fe-spin", "graphene", "o2-nc-soc"])
def test_chemical_potential_of_openmx(shared, name):
    """Where the electrons fix it: a metal, and molecules at a high temperature."""
    folder = shared / "fixtures" / "openmx" / name
    reference = json.loads((folder / "reference.json").read_text())
    calc = dock.read(folder)
    reduction = "none" if calc.spin is Spin.NONCOLLINEAR else "time-reversal"
    mesh = make_mesh(calc, reference["kgrid"], centring="openmx", reduction=reduction)
    width = reference["electronic_temperature_K"] * OPENMX_KELVIN
    result = fermi_level(calc, mesh, smearing=Smearing(width=width))
    assert result.level == pytest.approx(reference["chemical_potential_eV"], abs=2e-8)


@pytest.mark.shared
def test_public_mote2(shared):
    """The published Fermi level of this data is the middle of the gap at K."""
    folder = shared / "public" / "deeph" / "MoTe2"
    expected = json.loads((folder / "reference" / "fermi_energy.json").read_text())
    result = fermi_level(dock.read(folder), (12, 12, 1))
    assert result.level == pytest.approx(expected["fermi_energy_eV"], abs=1e-9)


# --------------------------------------------------------------------------- files


def test_a_stale_cache_is_never_used(tmp_path, bundled):
    calc = dock.read(bundled / "openmx" / "h2o")
    mesh = make_mesh(calc, (1, 1, 1))
    result = fermi_level(calc, mesh)
    written = result.save(tmp_path / "fermi_energy.json")
    assert [file.name for file in written] == ["fermi_energy.json", "eigval.h5"]
    cache = tmp_path / "eigval.h5"
    assert load_spectrum(calc, mesh, cache) is not None
    # One entry of H or S changed by 1e-12, another mesh, another threshold: computed again.
    for name in ("hamiltonian", "overlap"):
        matrices = {"hamiltonian": calc.hamiltonian, "overlap": calc.overlap}
        entries = matrices[name].entries.copy()
        entries[0, 5] += 1e-12
        matrices[name] = matrices[name].with_entries(entries)
        assert load_spectrum(calc.replace(matrices=matrices), mesh, cache) is None
    assert load_spectrum(calc, make_mesh(calc, (2, 1, 1)), cache) is None
    assert load_spectrum(calc, mesh, cache, s_threshold=1e-4) is None
    # The same eigenvalues serve another count of electrons.
    again = fermi_level(calc, mesh, electrons=6, cache=cache)
    assert again.counted == pytest.approx(6)
    cache.write_bytes(cache.read_bytes()[:2000])
    assert load_spectrum(calc, mesh, cache) is None


def test_the_cache_is_what_is_used(tmp_path, bundled, monkeypatch):
    calc = dock.read(bundled / "openmx" / "h2o")
    fermi_level(calc, (1, 1, 1)).save(tmp_path / "fermi_energy.json")

    def refuse(*args, **kwargs):
        raise AssertionError("diagonalised again")

    monkeypatch.setattr("dock.post.fermi.compute_spectrum", refuse)
    result = fermi_level(calc, (1, 1, 1), cache=tmp_path / "eigval.h5")
    assert result.counted == pytest.approx(8)


def test_files_have_the_layout(tmp_path, bundled):
    import h5py

    calc = dock.read(bundled / "openmx" / "si")
    result = fermi_level(calc, (3, 3, 3))
    result.save(tmp_path / "fermi_energy.json")
    content = json.loads((tmp_path / "fermi_energy.json").read_text())
    assert content["fermi_energy_eV"] == result.level
    with h5py.File(tmp_path / "eigval.h5") as file:
        assert file["kmesh"][()].tolist() == [3, 3, 3]
        assert file["kpoints"].shape == (27, 3)
        assert file["eigval_data"].shape == (27, 10)
        direct = calc.hamiltonian.k(file["kpoints"][5]), calc.overlap.k(file["kpoints"][5])
        values = np.sort(np.linalg.eigvals(np.linalg.solve(direct[1], direct[0])).real)
        assert np.abs(values - file["eigval_data"][5]).max() < 1e-4
    with pytest.raises(OutputError, match="exists"):
        result.save(tmp_path / "fermi_energy.json")


def test_figure(tmp_path, bundled):
    result = fermi_level(dock.read(bundled / "openmx" / "si"), (2, 2, 2))
    assert result.plot(tmp_path / "f.png").stat().st_size > 1000


# --------------------------------------------------------------------------- errors


def test_what_is_refused():
    with pytest.raises(MissingDataError, match="--electrons"):
        fermi_level(lattice_models.lattice(1, electrons=None), (2, 1, 1))
    for count in (0.0, 2.0, 3.0, -1.0):
        with pytest.raises(UsageError, match="do not fit"):
            fermi_level(lattice_models.lattice(1, electrons=count), (2, 1, 1))
    with pytest.raises(UsageError, match="tetrahedra"):
        fermi_level(lattice_models.lattice(1), (2, 1, 1), smearing="cold")
    bad = lattice_models.lattice(1, overlap=0.7)
    with pytest.raises(SolverError, match="not positive definite"):
        fermi_level(bad, (2, 1, 1))
    calc = lattice_models.lattice(1)
    entries = calc.hamiltonian.entries.copy()
    entries[0, 0] = np.nan
    broken = {"H": calc.hamiltonian.with_entries(entries), "S": calc.overlap}
    with pytest.raises(SolverError, match="NaN"):
        fermi_level(calc.replace(matrices=broken), (1, 1, 1))
    with pytest.raises(MissingDataError, match="compute-overlap"):
        fermi_level(calc.replace(matrices={"H": calc.hamiltonian}), (1, 1, 1))
