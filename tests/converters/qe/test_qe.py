"""Quantum ESPRESSO: against pw.x's own numbers, densities there and back, damaged files."""

import dataclasses
import json
import os
import re
import shutil
import subprocess

import h5py
import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

from dock import errors
from dock.converters import qe
from dock.converters.deeph.poscar import read_poscar
from dock.converters.format import ReadOptions
from dock.converters.qe.charge_density_dat import DAT, HDF5, read_density, write_dat, write_hdf5
from dock.converters.qe.charge_density_h5 import GRID_FILE, GridDensity
from dock.converters.qe.data_file_schema import SCHEMA, PlaneWaveRun, find_save
from dock.converters.qe.density import density_from_grid, g_sphere, natural_grid
from dock.converters.qe.folder import BANDS_FILE, RUN_FILE
from dock.core.spin import Spin

validation = samples.beside(__file__, "validation")

SYSTEMS = ["si", "fe"]
ALL = ["si", "graphene", "fe", "fe_nc", "o2"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_bundled_runs_agree_with_pw(bundled, name):
    for system, quantity, found, limit in validation.rows(bundled / "qe" / name):
        assert found <= limit, (system, quantity)


@pytest.mark.shared
@pytest.mark.parametrize("name", [*ALL, "si_projection", "mos2_hdf5_qe71"])
def test_shared_runs_agree_with_pw(shared, name):
    folder = shared / ("fixtures/qe" if name in ALL else "public/qe") / name
    for system, quantity, found, limit in validation.rows(folder):
        assert found <= limit, (system, quantity)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "spin", "n_components"),
    [
        ("si", Spin.NONE, 1),
        ("fe", Spin.COLLINEAR, 2),
        ("o2", Spin.COLLINEAR, 2),
        ("fe_nc", Spin.NONCOLLINEAR, 4),
    ],
)
def test_spin_parts(shared, name, spin, n_components):
    folder = shared / "fixtures/qe" / name
    run, density = qe.read_run(folder), read_density(folder / f"{name}.save")
    assert run.spin is spin
    assert len(density.values) == n_components
    assert run.k_weights.sum() == pytest.approx(1)
    assert run.levels.shape == (spin.n_channels, len(run.k_frac), run.n_bands)
    filled = np.einsum("k,ckb->", run.k_weights, run.occupations) * spin.degeneracy
    assert filled == pytest.approx(run.n_electrons, abs=1e-6)


def test_folder_and_back_restores_the_files(bundled, tmp_path):
    save = bundled / "qe/fe/fe.save"
    written = qe.to_folder(save, tmp_path / "u")
    assert [path.name for path in written] == ["POSCAR", GRID_FILE, BANDS_FILE, RUN_FILE]
    assert read_poscar(tmp_path / "u/POSCAR").symbols == ("Fe",)
    facts = json.loads((tmp_path / "u" / RUN_FILE).read_text())
    reference = json.loads((bundled / "qe/fe/reference.json").read_text())
    assert facts["fermi_energy_eV"] == pytest.approx(reference["fermi_energy_eV"], abs=1e-9)
    with h5py.File(tmp_path / "u" / BANDS_FILE) as file:
        assert file["eigval_data"].shape == file["eigval_data_down"].shape == (16, 16)
    qe.to_save(tmp_path / "u", tmp_path / "fe.save", like=save)
    original = read_density(save)
    for name in (DAT, HDF5):
        again = read_density(tmp_path / "fe.save" / name)
        assert np.array_equal(again.miller, original.miller)
        assert np.abs(again.values - original.values).max() < 1e-15
        assert np.abs(again.reciprocal - original.reciprocal).max() < 1e-14
    assert (tmp_path / "fe.save" / SCHEMA).read_bytes() == (save / SCHEMA).read_bytes()


@pytest.mark.parametrize("name", SYSTEMS)
def test_density_files_are_written_byte_for_byte(bundled, tmp_path, name):
    original = bundled / f"qe/{name}/{name}.save" / DAT
    write_dat(tmp_path / DAT, read_density(original))
    assert (tmp_path / DAT).read_bytes() == original.read_bytes()


@pytest.mark.shared
def test_hdf5_file_has_the_layout_of_pw(shared, tmp_path):
    original = shared / "public/qe/mos2_hdf5_qe71" / HDF5
    density = read_density(original)
    write_hdf5(tmp_path / HDF5, density)
    with h5py.File(original) as old, h5py.File(tmp_path / HDF5) as new:
        assert set(old) == set(new)
        for name in old:
            assert old[name].dtype == new[name].dtype
            assert np.array_equal(old[name][()], new[name][()])
        for here, there in ((old, new), (old["MillerIndices"], new["MillerIndices"])):
            assert {key: here.attrs.get_id(key).dtype for key in here.attrs} == {
                key: there.attrs.get_id(key).dtype for key in there.attrs
            }
            assert all(np.array_equal(here.attrs[key], there.attrs[key]) for key in here.attrs)


def test_cutoff_comes_from_the_file_or_the_user(bundled, tmp_path):
    save = bundled / "qe/si/si.save"
    qe.to_folder(save, tmp_path / "u")
    qe.to_save(tmp_path / "u", tmp_path / "a.save", kinds=("dat",))
    assert (tmp_path / "a.save" / DAT).stat().st_size == (save / DAT).stat().st_size
    assert not (tmp_path / "a.save" / HDF5).exists()
    with h5py.File(tmp_path / "u" / GRID_FILE, "r+") as file:
        for key in ("ecutrho_hartree", "alat_bohr", "gamma_only", "cell_angstrom"):
            del file.attrs[key]
    with pytest.raises(errors.MissingDataError, match="cut-off"):
        qe.to_save(tmp_path / "u", tmp_path / "b.save")
    qe.to_save(tmp_path / "u", tmp_path / "c.save", ecutrho_hartree=80.0)
    again, original = read_density(tmp_path / "c.save" / DAT), read_density(save)
    assert np.array_equal(again.miller, original.miller)
    with pytest.raises(errors.OutputError, match="exists already"):
        qe.to_save(tmp_path / "u", tmp_path / "c.save", ecutrho_hartree=80.0)
    with pytest.raises(errors.UsageError, match="dat and hdf5"):
        qe.to_save(tmp_path / "u", tmp_path / "d.save", kinds=("cube",))


def test_what_pw_would_repair_in_silence_is_refused(bundled, tmp_path):
    save = bundled / "qe/fe/fe.save"
    grid = qe.to_grid(read_density(save), qe.read_run(save))
    for values, message in (
        (grid.values * 1.01, "electrons"),
        (grid.values[:1], "components"),
    ):
        folder = tmp_path / message
        folder.mkdir()
        qe.write_grid(folder / GRID_FILE, GridDensity(grid.cell, values, grid.facts))
        with pytest.raises(errors.LossError, match=message):
            qe.to_save(folder, tmp_path / "x.save", like=save)
    other = bundled / "qe/si/si.save"
    qe.to_folder(save, tmp_path / "u")
    with pytest.raises(errors.FormatError, match="different cells"):
        qe.from_grid(qe.read_grid(tmp_path / "u"), qe.read_run(other))
    assert not (tmp_path / "x.save").exists()


def test_a_norm_that_is_slightly_off_is_mended_and_said(bundled, tmp_path, caplog):
    save = bundled / "qe/fe/fe.save"
    grid, run = qe.to_grid(read_density(save), qe.read_run(save)), qe.read_run(save)
    (tmp_path / "u").mkdir()
    values = grid.values * (1 + 1e-5)
    qe.write_grid(tmp_path / "u" / GRID_FILE, GridDensity(grid.cell, values, grid.facts))
    qe.to_save(tmp_path / "u", tmp_path / "x.save", like=save)
    assert "scaled from" in caplog.text
    density = read_density(tmp_path / "x.save")
    assert density.n_electrons == pytest.approx(run.n_electrons, rel=1e-12)
    np.testing.assert_allclose(density.values, read_density(save).values, rtol=2e-7, atol=1e-14)


class TestTwoFiles:
    """pw.x built with HDF5 writes one file, without it the other: two that differ are two runs."""

    @pytest.fixture
    def started(self, bundled, tmp_path):
        """A folder that dock wrote for pw.x to start from, of another density than the run's."""
        save = bundled / "qe/si/si.save"
        density = read_density(save)
        first = dataclasses.replace(density, values=density.values * (1 + 1e-4))
        (tmp_path / "u").mkdir()
        qe.write_grid(tmp_path / "u" / GRID_FILE, qe.to_grid(first, qe.read_run(save)))
        qe.to_save(tmp_path / "u", tmp_path / "si.save", like=save)
        values = density.values.copy()
        values[0, 1:] *= 1.01
        return tmp_path / "si.save", dataclasses.replace(density, values=values)

    @pytest.mark.parametrize(("name", "write"), [(DAT, write_dat), (HDF5, write_hdf5)])
    def test_the_run_replaces_its_own(self, started, name, write, tmp_path, caplog):
        save, result = started
        assert np.array_equal(read_density(save).values, read_density(save / DAT).values)
        (save / name).unlink()
        write(save / name, result)
        os.utime(save / name, (1, 1))  # files that were copied have any dates
        assert np.array_equal(read_density(save).values, result.values)
        assert "start that dock wrote before the run" in caplog.text
        qe.to_folder(save, tmp_path / "again")

    def test_files_of_two_runs_are_refused(self, started, bundled, tmp_path):
        save, result = started
        for name, write in ((DAT, write_dat), (HDF5, write_hdf5)):
            (save / name).unlink()
            write(save / name, result)
            result = dataclasses.replace(result, values=result.values * (1 + 1e-6))
        for read in (read_density, lambda path: qe.to_folder(path, tmp_path / "x")):
            with pytest.raises(errors.FormatError, match="another density than"):
                read(save)
        assert not (tmp_path / "x").exists()
        assert read_density(save / HDF5).n_electrons


def test_density_without_a_run_has_its_own_cutoff(bundled):
    density = read_density(bundled / "qe/si/si.save")
    grid = qe.to_grid(density)
    again = qe.from_grid(grid)
    assert np.array_equal(again.miller, density.miller)
    assert np.abs(again.values - density.values).max() < 1e-15


def test_finer_and_coarser_grids(bundled):
    density = read_density(bundled / "qe/si/si.save")
    fine = density.grid((48, 45, 40))
    again = density_from_grid(fine, density.reciprocal, density.miller, gamma_only=False)
    assert np.abs(again.values - density.values).max() < 1e-15
    with pytest.raises(errors.LayoutError, match="at least"):
        density.grid((16, 16, 16))
    shape = natural_grid(density.miller)
    assert np.all(np.array(shape) >= 2 * np.abs(density.miller).max(axis=0) + 1)


@pytest.mark.shared
def test_half_sphere_is_real_and_complete(shared):
    folder = shared / "fixtures/qe/o2/o2.save"
    density, run = read_density(folder), qe.read_run(folder)
    assert density.gamma_only
    grid = density.grid(run.fft_grid)
    full = g_sphere(density.reciprocal, run.ecutrho_hartree, run.alat_bohr, gamma_only=False)
    assert len(full) == 2 * len(density.miller) - 1
    whole = density_from_grid(grid, density.reciprocal, full, gamma_only=False)
    assert np.abs(whole.grid(run.fft_grid) - grid).max() < 1e-12


def test_matrices_are_not_promised(bundled):
    main = qe.FORMAT.detect(bundled / "qe/si")
    assert main == bundled / "qe/si/si.save"
    with pytest.raises(errors.MissingDataError, match="plane waves"):
        qe.FORMAT.read(main, ReadOptions())
    assert find_save(bundled / "qe") is None
    assert find_save(bundled / "openmx/si") is None
    assert find_save(bundled / "qe/si/si.save" / DAT) == main
    assert find_save(bundled / "qe/si/pw.in") is None


@pytest.fixture
def save(bundled, tmp_path):
    """Return a copy of a .save folder that may be damaged."""
    shutil.copytree(bundled / "qe/si/si.save", tmp_path / "si.save")
    return tmp_path / "si.save"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<nelec>8", "<nelec>x8", "nelec"),
        ("<nks>8<", "<nks>9<", "k-points are missing"),
        ('nat="2"', 'nat="3"', "atoms are missing"),
        ('atom name="Si"', 'atom name="7"', "element"),
        ("<a1>0.0", "<a1>nan 0.0", "finite numbers"),
        ('alat="7.25', 'alat="-7.25', "positive"),
        ("<fft_grid", "<fft_other", "fft_grid"),
        ('nr1="32"', 'nr1="many"', "count"),
        ("<eigenvalues", "<eigenvalue", "not valid XML"),
        ("<output>", "<outside>", "not valid XML"),
    ],
)
def test_damaged_xml(save, old, new, message):
    path = save / SCHEMA
    head, output, tail = path.read_text().partition("<output>")
    text = output + tail
    assert old in text
    path.write_text(head + text.replace(old, new, 1))
    with pytest.raises(errors.FormatError, match=message):
        qe.read_run(save)


def test_cut_xml(save):
    path = save / SCHEMA
    data = path.read_bytes()
    for end in np.linspace(0, len(data) - 20, 30).astype(int):
        path.write_bytes(data[:end])
        with pytest.raises(errors.FormatError):
            qe.read_run(save)
    path.unlink()
    with pytest.raises(errors.MissingDataError, match="schema"):
        qe.read_run(save)


@pytest.mark.parametrize("kind", [DAT, HDF5])
def test_cut_and_flipped_densities(save, tmp_path, rng, kind):
    density = read_density(save)
    path = tmp_path / kind
    (write_dat if kind == DAT else write_hdf5)(path, density)
    data = path.read_bytes()
    for end in np.linspace(0, len(data) - 1, 30).astype(int):
        path.write_bytes(data[:end])
        with pytest.raises(errors.FormatError):
            read_density(path)
    places = np.concatenate([np.arange(0, 120, 3), rng.integers(0, len(data), 40)])
    for place in places:
        broken = bytearray(data)
        broken[place] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            found = read_density(path)
        except errors.DockError:
            continue
        assert found.values.shape == density.values.shape


def test_missing_densities(tmp_path, save):
    with pytest.raises(errors.MissingDataError, match="charge density"):
        read_density(tmp_path)
    with pytest.raises(errors.MissingDataError, match=HDF5):
        read_density(save / HDF5)
    with pytest.raises(errors.MissingDataError, match=GRID_FILE):
        qe.read_grid(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop("entries"), "HDF5 cannot read"),
        (lambda file: file["shape"].write_direct(np.array([1, 2, 3])), "wrong length"),
        (lambda file: file["shape"].write_direct(np.array([0, 2, 3])), "three counts"),
        (lambda file: file.attrs.__setitem__("unit", "Ry"), "unit"),
    ],
)
def test_damaged_grid_files(save, tmp_path, change, message):
    qe.to_folder(save, tmp_path / "u")
    with h5py.File(tmp_path / "u" / GRID_FILE, "r+") as file:
        change(file)
    with pytest.raises(errors.FormatError, match=message):
        qe.read_grid(tmp_path / "u")


def test_run_without_density(save, tmp_path):
    (save / DAT).unlink()
    assert GRID_FILE not in {path.name for path in qe.to_folder(save, tmp_path / "u")}


def test_wrong_shapes_of_a_run(bundled):
    run = qe.read_run(bundled / "qe/si")
    values = {name: getattr(run, name) for name in run.__dataclass_fields__}
    with pytest.raises(errors.LayoutError, match="k_weights"):
        PlaneWaveRun(**values | {"k_weights": run.k_weights[:3]})


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), gamma_only=st.booleans(), cutoff=st.floats(1.0, 6.0))
def test_sphere_by_brute_force(seed, gamma_only, cutoff):
    """The sphere is complete, ordered by length, and ties stand in the order of enumeration."""
    rng = np.random.default_rng(seed)
    reciprocal = np.eye(3) + 0.3 * rng.random((3, 3))
    miller = g_sphere(reciprocal, cutoff, 2 * np.pi, gamma_only=gamma_only)
    axis = np.arange(-8, 9)
    box = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    square = np.sum((box @ reciprocal) ** 2, axis=1)
    inside = {tuple(m) for m in box[square <= 2 * cutoff].tolist()}
    found = [tuple(m) for m in miller.tolist()]
    assert len(set(found)) == len(found)
    if gamma_only:
        assert set(found) | {(-a, -b, -c) for a, b, c in found} == inside
        assert len(inside) == 2 * len(found) - 1
    else:
        assert set(found) == inside
    lengths = np.sum((miller @ reciprocal) ** 2, axis=1)
    assert np.all(np.diff(lengths) > -1e-8)
    tied = np.flatnonzero(np.abs(np.diff(lengths)) < 1e-12)
    assert all(found[n] < found[n + 1] for n in tied)


def _accuracies(folder, start):
    """Run pw.x for three SCF steps at most and return their estimated accuracies, Ry."""
    text = (folder / "pw.in").read_text()
    text = re.sub(r"pseudo_dir\s*=\s*'[^']*'", "pseudo_dir='./pseudo'", text)
    text = re.sub(r"outdir\s*=\s*'[^']*'", "outdir='./out'", text)
    # In the default subspace of two, Davidson's overlap turns indefinite on some machines.
    electrons = f"&electrons\n startingpot='{start}', electron_maxstep=3, diago_david_ndim=4,"
    text = text.replace("&electrons", electrons)
    text = text.replace("tprnfor=.true.", "tprnfor=.false.").replace("tstress=.true.", "")
    done = subprocess.run(
        ["pw.x"], input=text, cwd=folder, capture_output=True, text=True, check=False
    )
    assert "JOB DONE" in done.stdout, done.stdout[-2000:]
    return [float(x) for x in re.findall(r"estimated scf accuracy\s*<\s*(\S+) Ry", done.stdout)]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
@pytest.mark.parametrize(("name", "limit"), [("si", 1e-11), ("fe", 1e-9)])
def test_pw_restarts_from_our_density(shared, tmp_path, name, limit):
    """pw.x from the density that went through a unified folder, and from atoms."""
    folder = shared / "fixtures/qe" / name
    source = folder / f"{name}.save"
    shutil.copy(folder / "pw.in", tmp_path / "pw.in")
    shutil.copytree(shared / "public/qe/pseudo", tmp_path / "pseudo")
    qe.to_folder(source, tmp_path / "u")
    qe.to_save(tmp_path / "u", tmp_path / f"out/{name}.save", like=source)
    from_file = _accuracies(tmp_path, "file")
    shutil.rmtree(tmp_path / "out")
    from_atoms = _accuracies(tmp_path, "atomic")
    assert len(from_file) <= 2 < len(from_atoms)
    assert from_file[0] < limit < from_atoms[0]


def test_the_xml_of_7_5(save):
    """Schema qes_250521: a label on each k-point, input occupations; the version is the file's."""
    path = save / SCHEMA
    text = path.read_text()
    text = text.replace('VERSION="6.7MaX"', 'VERSION="7.5"').replace("qes_030920", "qes_250521")
    text = text.replace("<k_point weight", '<k_point label="G" weight')
    kind = "<occupations_kind>fixed</occupations_kind>"
    assert kind in text
    text = text.replace(kind, f'{kind}<inputOccupations ispin="1" size="2">2 2</inputOccupations>')
    before = qe.read_run(save)
    path.write_text(text)
    run = qe.read_run(save)
    assert run.version == "7.5"
    np.testing.assert_array_equal(run.levels, before.levels)
    np.testing.assert_array_equal(run.k_frac, before.k_frac)


def test_a_field_that_a_newer_version_renames_is_named_with_the_version(save):
    path = save / SCHEMA
    text = path.read_text().replace('VERSION="6.7MaX"', 'VERSION="8.1"')
    path.write_text(text.replace("nelec>", "electrons>"))
    with pytest.raises(errors.FormatError, match=r"nelec.*6\.7 to 7\.5.*calls itself pw\.x 8\.1"):
        qe.read_run(save)
