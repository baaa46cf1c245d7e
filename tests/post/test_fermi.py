"""The Fermi level: closed forms, the codes' own numbers, caching, and what is refused."""

import json

import lattice_models
import numpy as np
import pytest

import dock
from dock.core.spin import Spin
from dock.errors import MissingDataError, OutputError, SolverError, UsageError
from dock.post.fermi import FermiResult, fermi_level
from dock.results import KEYS
from dock.states.kmesh import make_mesh
from dock.states.smearing import Smearing
from dock.states.spectrum import load_spectrum
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
    # Of several files the first that has them is used.
    assert load_spectrum(calc, mesh, [tmp_path / "none.h5", cache]) is not None
    cache.write_bytes(cache.read_bytes()[:2000])
    assert load_spectrum(calc, mesh, cache) is None
    cache.write_text("not HDF5")
    assert load_spectrum(calc, mesh, cache) is None


def test_a_cache_of_an_earlier_version_is_used(tmp_path, bundled):
    import h5py

    calc = dock.read(bundled / "openmx" / "h2o")
    mesh = make_mesh(calc, (1, 1, 1))
    cache = fermi_level(calc, mesh).save(tmp_path / "fermi_energy.json")[1]
    with h5py.File(cache, "a") as file:
        file.attrs["n_removed"] = file.attrs["n_removed_states"]
        del file.attrs["n_removed_states"]
    assert load_spectrum(calc, mesh, cache) is not None


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


def test_each_name_has_eigenvalues_of_its_own(tmp_path, bundled):
    calc = dock.read(bundled / "openmx" / "h2o")
    one, other = fermi_level(calc, (1, 1, 1)), fermi_level(calc, (2, 1, 1))
    written = [*one.save(tmp_path / "a.json"), *other.save(tmp_path / "b.json")]
    names = ["a.json", "a_eigval.h5", "b.json", "b_eigval.h5"]
    assert [file.name for file in written] == names
    assert [file.name for file in FermiResult.files("x/fermi_energy.json")][1] == "eigval.h5"
    # Nothing is written where eigenvalues of another mesh would be replaced, or the name is taken.
    (tmp_path / "a.json").unlink()
    with pytest.raises(OutputError, match=r"a_eigval\.h5: exists already, with .* another"):
        other.save(tmp_path / "a.json")
    with pytest.raises(OutputError, match=r"b\.json: exists already\. Pass overwrite=True"):
        one.save(tmp_path / "b.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == names[1:]
    assert load_spectrum(calc, other.spectrum.mesh, tmp_path / "b_eigval.h5") is not None
    other.save(tmp_path / "a.json", overwrite=True)
    assert load_spectrum(calc, other.spectrum.mesh, tmp_path / "a_eigval.h5") is not None


def test_the_face_of_a_result(tmp_path, bundled):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    result = fermi_level(dock.read(bundled / "openmx" / "o2-spin"), (1, 1, 1))
    assert result.facts()["smearing"] == result.method_name
    facts = result.facts()
    assert set(facts) | set(result.arrays()) <= set(KEYS)
    assert facts["fermi_level_eV"] == result.fermi_level == result.level
    assert facts["n_bands"] == result.occupations.shape[2]
    assert result.json()["occupations"] == result.occupations.tolist()
    assert "occupations" not in result.json(arrays=False)
    assert "spin moment" in result.table()
    assert len(repr(result)) < 300
    assert repr(result).startswith("<FermiResult: Fermi level")
    assert "<td" in result._repr_html_()
    assert result.plot(tmp_path / "f.png").stat().st_size > 1000
    figure, axes = pyplot.subplots()
    assert result.plot(ax=axes) is axes
    assert axes.lines
    pyplot.close(figure)


def test_where_the_level_is_from(bundled):
    si = dock.read(bundled / "openmx" / "si")
    assert fermi_level(si, (2, 2, 2)).facts()["fermi_source"] == "mid-gap"
    metal = fermi_level(lattice_models.lattice(2), (6, 6, 1))
    assert metal.facts()["fermi_source"] == "counted"
    assert metal.facts()["gap_eV"] == 0
    assert metal.facts()["vbm"] is None


# --------------------------------------------------------------------------- errors


def test_what_is_refused():
    with pytest.raises(MissingDataError, match="electrons=N"):
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
