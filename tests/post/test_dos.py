"""Densities of states: exact integrals, van Hove edges, projections, files."""

import json
from dataclasses import replace

import lattice_models
import numpy as np
import pytest

import dock
from dock.core.spin import Spin
from dock.errors import MissingDataError, OutputError, UsageError
from dock.post.density_of_states import dos
from dock.post.fermi import fermi_level
from dock.results import KEYS
from dock.states.kmesh import make_mesh
from dock.states.smearing import Smearing

METHODS = ["tetrahedra", Smearing("gaussian", 0.05), Smearing("cold", 0.1)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["si", "o2-spin", "o2-nc-soc"])
def test_integrals_and_projections_add_up(bundled, name, method):
    calc = dock.read(bundled / "openmx" / name)
    size = (3, 3, 3) if name == "si" else (2, 1, 1)
    for by, scheme in (("species,l", "mulliken"), ("atom,shell,m,spin", "lowdin")):
        result = dos(calc, size, method=method, step=0.05, project=by, scheme=scheme)
        assert result.covered == pytest.approx(result.capacity, abs=1e-10)
        assert result.counted == pytest.approx(calc.n_electrons, abs=1e-9)
        assert np.abs(result.projected.sum(axis=1) - result.total).max() < 1e-8


def test_a_flat_band_is_one_bin():
    result = dos(lattice_models.lattice(0), (2, 2, 2), step=0.01)
    assert np.count_nonzero(result.total > 1e-9) == 1
    assert result.covered == pytest.approx(2, abs=1e-13)


def test_chain_dos_in_closed_form():
    # 2/(π sqrt(4 − E²)) states per eV with both spins.
    result = dos(lattice_models.lattice(1), (600, 1, 1), step=0.02)
    middle = np.abs(result.energies) < 1.5
    exact = 2 / np.pi / np.sqrt(4 - result.energies[middle] ** 2)
    assert np.abs(result.total[0, middle] / exact - 1).max() < 0.01


def test_square_lattice_has_its_van_hove_peak_at_zero():
    result = dos(lattice_models.lattice(2), (60, 60, 1), step=0.005)
    peak = result.energies[np.argmax(result.total[0])]
    assert abs(peak) <= 0.005
    assert result.covered == pytest.approx(2, abs=1e-11)


@pytest.mark.shared
def test_graphene_van_hove_peaks(shared):
    """Within 5 meV of the saddle points at M, and ∫ = 2N, on a mesh of 60 × 60."""
    calc = dock.read(shared / "fixtures" / "openmx" / "graphene")
    result = dos(calc, (60, 60, 1), step=0.002)
    assert result.covered == pytest.approx(2 * calc.basis.n_orbitals, abs=1e-10)
    saddles = np.array(
        [
            np.sort(np.linalg.eigvals(np.linalg.solve(calc.overlap.k(k), calc.hamiltonian.k(k))))
            for k in ([0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0])
        ]
    ).real
    for band, low, high in ((3, -4, 0), (4, 0, 4)):
        x = result.energies - result.fermi_level
        shown = (x > low) & (x < high)
        peak = result.energies[shown][np.argmax(result.total[0, shown])]
        assert np.abs(saddles[:, band] - peak).min() < 0.005


def test_broadening_at_the_centres_equals_the_sum_over_levels(bundled):
    calc = dock.read(bundled / "openmx" / "h2o")
    smearing = Smearing("gaussian", 0.2)
    result = dos(calc, (1, 1, 1), method=smearing, step=0.1, average=False, window=(-20, 5))
    levels = np.linalg.eigvals(
        np.linalg.solve(calc.overlap.k([0] * 3), calc.hamiltonian.k([0] * 3))
    )
    x = (result.energies[:, None] - levels.real[None, :]) / 0.2
    exact = 2 * np.exp(-(x**2)).sum(axis=1) / (0.2 * np.sqrt(np.pi))
    assert np.abs(result.total[0] - exact).max() < 1e-6
    assert result.energies[0] - result.fermi_level == pytest.approx(-20)


def test_symmetry_changes_no_projection_that_allows_it(bundled):
    calc = dock.read(bundled / "openmx" / "mos2")
    whole = dos(calc, make_mesh(calc, (4, 4, 1), reduction="none"), project="species,l", step=0.1)
    reduced = dos(calc, (4, 4, 1), project="species,l", step=0.1)
    assert reduced.mesh.n_points < whole.mesh.n_points
    filled = [r.projected[0][:, r.energies < r.fermi_level].sum(axis=1) for r in (whole, reduced)]
    assert np.abs(filled[0] - filled[1]).max() * 0.1 < 1e-4


def test_spin_channels_and_spinors_agree():
    for field in (0.0, 0.8):
        options = {"step": 0.1, "window": (-7, 7), "electrons": 0.8}
        two = dos(lattice_models.lattice(2, spin=Spin.COLLINEAR, field=field), (6, 6, 1), **options)
        one = dos(
            lattice_models.lattice(2, spin=Spin.NONCOLLINEAR, field=field),
            (6, 6, 1),
            project="spin",
            **options,
        )
        assert one.names == ("up", "down")
        assert np.abs(one.total[0] - two.total.sum(axis=0)).max() < 1e-9
        assert np.abs(one.projected[0] - two.total).max() < 1e-9


def test_files_and_figure(tmp_path, bundled):
    import h5py

    calc = dock.read(bundled / "openmx" / "o2-spin")
    result = dos(calc, (1, 1, 1), step=0.1, window=(-10, 5), project="atom,l")
    written = result.save(tmp_path / "dos.h5")
    with h5py.File(written[0]) as file:
        assert file["energy"][0] == pytest.approx(-10)
        assert np.array_equal(file["dos_data"][()], result.total.sum(axis=0))
        assert file["fermi_energy_before_shift"][()] == result.fermi_level
        assert file["dos_up"].shape == file["energy"].shape
        assert file["projection_names"].asstr()[()].tolist() == list(result.names)
        assert file["projections"].shape == result.projected.shape
        assert file.attrs["fermi_level_eV"] == result.fermi_level
        assert set(file.attrs) - {"written_by"} <= set(KEYS) - {"projection_names"}
    content = json.loads(written[1].read_text())
    assert content["counted_electrons"] == pytest.approx(12)
    assert result.plot(tmp_path / "dos.png").stat().st_size > 1000
    assert np.array_equal(result.projection("O1 s"), result.projected[:, 0])
    with pytest.raises(UsageError, match="no projection"):
        result.projection("Fe d")
    with pytest.raises(OutputError, match="exists"):
        result.save(tmp_path / "dos.h5")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dos.h5", "dos.json", "dos.png"]


def test_the_face_of_a_result(bundled):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    calc = dock.read(bundled / "openmx" / "o2-spin")
    result = dos(calc, (1, 1, 1), step=0.1, window=(-10, 5), project="l")
    assert set(result.facts()) | set(result.arrays()) <= set(KEYS)
    content = result.json()
    assert content["projection_names"] == ["s", "p", "d"]
    assert content["energies_relative_eV"] == (result.energies - result.fermi_level).tolist()
    assert content["dos_1_per_eV"] == result.total.tolist()
    assert content["projected_dos"] == result.projected.tolist()
    assert content["n_energies"] == len(result.energies)
    assert "  s" in result.table()
    assert len(repr(result)) < 300
    assert repr(result).startswith("<DensityOfStates: energies")
    assert "<td" in result._repr_html_()
    figure, axes = pyplot.subplots()
    assert result.plot(ax=axes, window=(-8, 2)) is axes
    assert axes.get_xlim() == (-8, 2)
    pyplot.close(figure)


def test_more_names_than_an_attribute_holds(tmp_path):
    import h5py

    result = dos(lattice_models.lattice(0), (1, 1, 1), step=0.1)
    names = tuple(f"H{number} s" for number in range(10_000))
    many = replace(result, names=names, projected=np.zeros((1, len(names), len(result.energies))))
    with h5py.File(many.save(tmp_path / "dos.h5")[0]) as file:
        assert tuple(file["projection_names"].asstr()[()]) == names


def count_problems(monkeypatch):
    """Return a list that grows with every eigenproblem that is solved."""
    from dock.states.dense import Dense

    solved, plain = [], Dense.solve

    def counting(self, *args):
        solved.append(args[-1].vectors)
        return plain(self, *args)

    monkeypatch.setattr(Dense, "solve", counting)
    return solved


@pytest.mark.parametrize("method", METHODS[:2])
def test_projections_take_one_diagonalisation(bundled, monkeypatch, method):
    calc = dock.read(bundled / "openmx" / "mos2")
    mesh = make_mesh(calc, (3, 3, 1))
    fermi = fermi_level(calc, mesh, smearing=method)
    before = dos(calc, mesh, method=method, step=0.1, project="l", fermi=fermi)
    solved = count_problems(monkeypatch)
    result = dos(calc, mesh, method=method, step=0.1, project="l")
    assert solved == [True] * mesh.n_points
    assert result.counted_level == pytest.approx(fermi.level, abs=1e-12)
    assert np.abs(result.total - before.total).max() < 1e-9
    # Of degenerate states only sums have a meaning, and they share a bin.
    assert np.abs(result.projected - before.projected).max() < 1e-9


def test_the_total_takes_eigenvalues_that_are_kept(tmp_path, bundled, monkeypatch):
    calc = dock.read(bundled / "openmx" / "si")
    fermi_level(calc, (2, 2, 2)).save(tmp_path / "fermi_energy.json")
    solved = count_problems(monkeypatch)
    dos(calc, (2, 2, 2), step=0.1, cache=tmp_path / "eigval.h5")
    assert solved == []


def test_projections_with_states_that_a_threshold_removes(bundled):
    """Points keep different numbers of states; those above the common ones are left out."""
    calc = dock.read(bundled / "openmx" / "si")
    options = {"step": 0.1, "s_threshold": 0.06}
    result = dos(calc, (3, 3, 3), project="species", **options)
    fermi = fermi_level(calc, (3, 3, 3), s_threshold=0.06)
    assert fermi.spectrum.n_removed > 0
    assert result.capacity == fermi.spectrum.capacity
    assert np.abs(result.projected.sum(axis=1) - result.total).max() < 1e-8


def test_bad_options_cost_no_time(bundled, monkeypatch):
    solved = count_problems(monkeypatch)
    calc = dock.read(bundled / "openmx" / "h2o")
    for options in ({"window": (2, 1)}, {"step": -1.0}, {"average": False}):
        with pytest.raises(UsageError):
            dos(calc, (1, 1, 1), **options)
    with pytest.raises(UsageError, match="do not fit"):
        dos(calc, (1, 1, 1), project="l", electrons=1000)
    with pytest.raises(MissingDataError, match="electrons=N"):
        dos(lattice_models.lattice(1, electrons=None), (2, 1, 1), project="l")
    assert solved == []


def test_pymatgen(bundled):
    pytest.importorskip("pymatgen")
    result = dos(dock.read(bundled / "openmx" / "si"), (2, 2, 2), step=0.1)
    converted = result.to_pymatgen()
    assert converted.efermi == result.fermi_level
    assert converted.get_gap(tol=1e-4) > 1


def test_errors():
    calc = lattice_models.lattice(2)
    with pytest.raises(UsageError, match="step"):
        dos(calc, (2, 2, 1), step=0)
    with pytest.raises(UsageError, match="empty"):
        dos(calc, (2, 2, 1), window=(1, 1))
    with pytest.raises(UsageError, match="larger step"):
        dos(calc, (2, 2, 1), step=1e-9)
    with pytest.raises(UsageError, match="species, atom"):
        dos(calc, (2, 2, 1), project="colour")
    with pytest.raises(UsageError, match="mulliken"):
        dos(calc, (2, 2, 1), project="l", scheme="bader")
    with pytest.raises(UsageError, match="average"):
        dos(calc, (2, 2, 1), average=False)
    with pytest.raises(UsageError, match="reduced"):
        dos(calc, make_mesh(calc, (4, 4, 1)), project="atom")
