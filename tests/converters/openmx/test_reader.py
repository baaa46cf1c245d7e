"""OpenMX runs as physics: what the code printed is what our folder gives."""

import shutil

import numpy as np
import pytest
import samples
import validation

import dock
from dock.converters import openmx
from dock.core.spin import Spin
from dock.errors import FormatError

SHARED = ["fe-spin", "gaas-soc", "graphene"]
SPINS = {"none": Spin.NONE, "collinear": Spin.COLLINEAR, "noncollinear": Spin.NONCOLLINEAR}


def assert_within(rows):
    rows = list(rows)
    assert len(rows) >= 3
    wrong = [row for row in rows if not row.deviation <= row.limit]
    assert not wrong


@pytest.mark.parametrize("name", samples.BUNDLED)
def test_numbers_of_the_code(bundled, name):
    assert_within(validation.openmx_rows(bundled / "openmx" / name))


@pytest.mark.shared
@pytest.mark.parametrize("name", [*SHARED, "graphene8-train/00", "graphene8-train/19"])
def test_numbers_of_the_code_in_the_reference_data(shared, name):
    assert_within(validation.openmx_rows(shared / "fixtures" / "openmx" / name))


@pytest.mark.shared
def test_levels_that_a_public_run_printed(shared):
    row = validation.printed_row(shared / "public" / "openmx" / "MoTe2")
    assert row.deviation <= row.limit


@pytest.mark.parametrize("name", samples.BUNDLED)
def test_facts(bundled, name):
    run = bundled / "openmx" / name
    reference = validation.json.loads((run / "reference.json").read_text())
    calc = dock.read(run)
    bohr = reference["conversion"]["bohr_angstrom"]
    assert calc.spin is SPINS[reference["spin_treatment"]]
    assert list(calc.structure.symbols) == reference["elements"]
    assert calc.basis.counts.tolist() == reference["orbitals_per_atom"]
    assert calc.fermi_level == pytest.approx(reference["chemical_potential_eV"], abs=1e-9)
    assert calc.n_electrons == pytest.approx(reference["n_electrons"], abs=1e-9)
    cell, positions = reference["lattice_bohr"], reference["positions_bohr"]
    np.testing.assert_allclose(calc.structure.cell, np.array(cell) * bohr, atol=1e-9)
    np.testing.assert_allclose(calc.structure.positions, np.array(positions) * bohr, atol=1e-9)
    assert set(calc.structure.pbc) == {reference["solver"] != "Cluster"}
    assert calc.provenance.version == reference["openmx_version"][:3]


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    run = samples.run_folder(tmp_path / "run")
    calc = dock.read(run)
    assert calc.available == ("overlap", "hamiltonian", "density_matrix", "position", "gradient")
    shutil.rmtree(run)
    assert calc.n_electrons == 8
    with pytest.raises(dock.DockError, match=r"si\.scfout"):
        calc.require("H")


def test_position_is_about_the_global_origin_and_gradient_is_antisymmetric(bundled):
    """The partner block differs by R·S, to the noise of OpenMX's real-space grid."""
    calc = dock.read(bundled / "openmx" / "mos2")
    r, S = calc.require("r"), calc.require("S")
    pairs, layout = r.pairs, r.layout
    turned = layout.transpose(r.entries, pairs.require_closed())
    shift = pairs.R @ calc.structure.cell
    expected = turned + np.repeat(shift, layout.rows * layout.cols, axis=0).T * S.entries
    assert np.abs(r.entries - expected).max() < 2e-3
    gradient = calc.require("gradient")
    assert gradient.hermiticity_error() < 2e-3
    # <s|d/dx|p_x> > 0 for a nodeless pair of one atom: the file holds minus that.
    h2o = dock.read(bundled / "openmx" / "h2o").require("gradient").block([0, 0, 0], 0, 0)
    assert h2o[0][0, 4] > 0.1  # s0, then s1, then p0: y z x


def test_orbital_order_is_that_of_the_unified_format(bundled):
    """On the x axis p_x couples with s, p_y and p_z do not; the table of the code has x first."""
    calc = dock.read(bundled / "openmx" / "o2-spin")
    block = calc.require("S").block([0, 0, 0], 0, 1)
    ls = calc.basis.ls("O")
    assert ls == (0, 0, 1, 1, 2)
    y, z, x = abs(block[0, 2:5])
    assert x > 0.05
    assert max(y, z) < 1e-9
    d = abs(block[0, 8:13])  # xy yz z2 xz x2-y2
    assert d[[0, 1, 3]].max() < 1e-9
    assert d[4] == pytest.approx(np.sqrt(3) * d[2], rel=1e-6)


def test_the_part_that_38_does_not_store_is_said(bundled):
    calc = dock.read(bundled / "openmx" / "o2-nc-soc-v38")
    assert "imaginary part" in calc.provenance.extra["notes"][0]
    assert "notes" not in dock.read(bundled / "openmx" / "o2-nc-soc").provenance.extra


@pytest.mark.shared
def test_radial_functions_come_with_the_basis_folder(shared, bundled):
    folder = shared / "public" / "openmx" / "pao"
    calc = openmx.read(bundled / "openmx" / "si", basis=folder)
    shells = calc.basis.shells["Si"]
    assert [shell.label for shell in shells] == ["s0", "s1", "p0"]
    assert all(shell.radial is not None for shell in shells)
    assert shells[0].radial.cutoff == pytest.approx(7 * 0.529177249)
    with pytest.raises(dock.DockError, match=r"O5\.0\.pao"):
        openmx.read(bundled / "openmx" / "h2o", basis=bundled)


def test_several_files_in_a_folder_are_named(tmp_path):
    run = samples.run_folder(tmp_path / "run")
    shutil.copy(run / "si.scfout", run / "other.scfout")
    with pytest.raises(FormatError, match=r"other\.scfout, si\.scfout"):
        dock.read(run)
    assert dock.read(run / "si.scfout").structure.formula == "Si2"
    assert dock.read(run / "si.out").structure.formula == "Si2"


def test_input_that_contradicts_the_matrices(tmp_path, bundled):
    run = samples.run_folder(tmp_path / "run")
    path = run / "si.scfout"
    data = path.read_bytes()
    word = b"scf.SpinPolarization"
    at = data.index(word)
    end = data.index(b"\n", at)
    line = data[at:end].replace(b"Off", b"On ", 1).replace(b"off", b"on ", 1)
    assert line != data[at:end]
    path.write_bytes(data[:at] + line + data[end:])
    with pytest.raises(FormatError, match=r"si\.scfout.*differ in spin"):
        dock.read(run)
