"""Real ABACUS runs: structure, spectra, traces, and every element against a second reader."""

import numpy as np
import pytest

import dock.converters.abacus as abacus
from dock.converters.abacus.reader import read_calculation
from dock.converters.format import ReadOptions
from dock.core.check import check_calculation
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError


def test_graphene(bundled):
    calc = abacus.read(bundled / "abacus" / "graphene")
    assert calc.available == ("overlap", "hamiltonian", "density_matrix", "position")
    assert calc.structure.labels == ("C", "C")
    assert calc.fermi_level == -0.43941564934
    assert calc.n_electrons == 8.0
    assert calc.provenance.version == "3.8.1"
    assert calc.provenance.extra["converged"] is True
    assert "notes" not in calc.provenance.extra
    # 1/3 has ten digits in STRU; ABACUS's Å is 1.8897261254578281 · 0.529177 of the true one
    np.testing.assert_allclose(calc.structure.fractional[0], [1 / 3, 2 / 3, 0.5], atol=1e-10)
    np.testing.assert_allclose(calc.structure.cell[0], [2.46, 0, 0], rtol=1e-6, atol=1e-12)


def test_graphene_agrees_with_what_abacus_printed(bundled, validation):
    rows = list(validation.rows_of("graphene", bundled / "abacus" / "graphene"))
    assert len(rows) == 7
    for system, quantity, deviation, limit in rows:
        assert deviation <= limit, (system, quantity)


@pytest.mark.parametrize(
    ("quantity", "file", "unit"),
    [
        ("hamiltonian", "data-HR-sparse_SPIN0", "RYDBERG"),
        ("overlap", "data-SR-sparse_SPIN0", None),
        ("density_matrix", "data-DMR-sparse_SPIN0", None),
        ("position", "data-rR-sparse", "BOHR"),
    ],
)
def test_every_element_against_the_second_reader(bundled, independent, quantity, file, unit):
    folder = bundled / "abacus" / "graphene"
    matrix = abacus.read(folder).require(quantity)
    vector = quantity == "position"
    found, size, _ = independent.read_old(folder / "OUT.ABACUS" / f"{file}.csr.gz", vector)
    index, sign = independent.orbital_order([(2, 2, 1)] * 2)
    scale = getattr(independent, unit) if unit else 1.0
    assert size == matrix.basis.n_orbitals
    for R, block in found.items():
        for component, dense in enumerate(block if vector else [block]):
            wanted = scale * dense[np.ix_(index, index)].real * np.outer(sign, sign)
            mine = matrix.to_csr(R, component).toarray()
            np.testing.assert_allclose(mine, wanted, rtol=1e-14, atol=1e-300)


def test_overlap_of_a_get_S_run(bundled):
    calc = abacus.read(bundled / "abacus" / "si2_get_S")
    assert calc.available == ("overlap",)
    assert calc.fermi_level is None
    assert calc.n_electrons == 8.0
    levels = {finding.level for finding in check_calculation(calc)}
    assert "error" not in levels
    onsite = calc.overlap.block([0, 0, 0], 0, 0)
    np.testing.assert_allclose(np.diag(onsite), 1.0, atol=2e-6)


def test_radial_functions_come_from_the_orbital_files(bundled, shared):
    orbitals = shared / "public" / "abacus" / "orb"
    calc = abacus.read(bundled / "abacus" / "si2_get_S", basis=orbitals)
    shells = calc.basis.shells["Si"]
    assert [shell.l for shell in shells] == [0, 0, 1, 1, 2]
    assert all(abs(shell.radial.norm - 1) < 1e-6 for shell in shells)


def test_orbital_files_of_another_basis_are_refused(bundled, shared, tmp_path):
    orbitals = shared / "public" / "abacus" / "orb"
    target = tmp_path / "Si_gga_6au_100Ry_2s2p1d.orb"
    target.write_bytes((orbitals / "Fe_gga_6au_100Ry_4s2p2d1f.orb").read_bytes())
    with pytest.raises(FormatError, match="not the basis of species Si"):
        abacus.read(bundled / "abacus" / "si2_get_S", basis=tmp_path)
    with pytest.raises(MissingDataError, match=r"\.orb is missing"):
        abacus.read(bundled / "abacus" / "si2_get_S", basis=tmp_path / "nowhere")


@pytest.mark.shared
def test_all_reference_runs_agree_with_abacus(shared, validation):
    rows = list(validation.rows(shared))
    assert len(rows) >= 25
    failed = [row for row in rows if not row[2] <= row[3]]
    assert not failed


@pytest.mark.shared
def test_spins_of_the_reference_runs(shared):
    spins = {"si2": Spin.NONE, "fe": Spin.COLLINEAR, "gaas_soc": Spin.NONCOLLINEAR}
    for name, spin in spins.items():
        calc = abacus.read(shared / "fixtures" / "abacus" / name)
        assert calc.spin is spin
        assert "error" not in {finding.level for finding in check_calculation(calc)}


@pytest.mark.shared
def test_iron_has_its_moment(shared):
    calc = abacus.read(shared / "fixtures" / "abacus" / "fe")
    up, down = (
        np.vdot(part, overlap)
        for part, overlap in zip(
            calc.density_matrix.aligned(calc.overlap)[0].entries,
            [calc.density_matrix.aligned(calc.overlap)[1].entries[0]] * 2,
            strict=True,
        )
    )
    assert abs(up - 8.84386) < 1e-5  # "nelec for spin up" in the log
    assert abs(down - 7.15614) < 1e-5


@pytest.mark.shared
def test_new_layout_holds_the_same(shared):
    folder = shared / "fixtures" / "abacus"
    old, new = abacus.read(folder / "si2"), abacus.read(folder / "si2_new_format_synthetic")
    for quantity in ("hamiltonian", "overlap", "density_matrix"):
        first, second = old.require(quantity).aligned(new.require(quantity))
        np.testing.assert_array_equal(first.entries, second.entries)


def relaxed(folder):
    """Make a run of two ionic steps out of the graphene run: the second step has 2 H."""
    out = folder / "OUT.ABACUS"
    log = (out / "running_scf.log").read_text()
    table = log[log.index("DIRECT COORDINATES") :]
    table = table[: table.index("Volume")]
    moved = table.replace("0.3333333333", "0.3333400000").replace("0.6666666667", "0.6666600000")
    (out / "running_relax.log").write_text(f"{log}\n{moved}\n EFERMI = -0.5 eV\n{moved}\n")
    (out / "running_scf.log").unlink()
    import gzip

    for name in ("HR", "SR"):
        path = out / f"data-{name}-sparse_SPIN0.csr.gz"
        text = gzip.decompress(path.read_bytes())
        path.unlink()
        second = text.replace(b"STEP: 0", b"STEP: 1")
        path.with_suffix("").write_bytes(text + second)
    return out


def test_the_last_ionic_step_is_read_unless_another_is_chosen(copy_run):
    folder = relaxed(copy_run("graphene"))
    last, first = abacus.read(folder), abacus.read(folder, step=0)
    assert (last.provenance.extra["step"], last.fermi_level) == (1, -0.5)
    assert (first.provenance.extra["step"], first.fermi_level) == (0, -0.43941564934)
    np.testing.assert_allclose(last.structure.fractional[0, :2], [0.33334, 0.66666], atol=1e-10)
    np.testing.assert_allclose(first.structure.fractional[0, 0], 1 / 3, atol=1e-10)
    np.testing.assert_array_equal(last.hamiltonian.entries, first.hamiltonian.entries)
    with pytest.raises(MissingDataError, match="ionic step 7"):
        abacus.read(folder, step=7).require("overlap")


def test_a_matrix_without_the_step_is_named(copy_run):
    folder = relaxed(copy_run("graphene"))
    with pytest.raises(MissingDataError, match=r"ionic step 1 is missing.*steps 0"):
        abacus.read(folder).require("density_matrix")


def test_step_from_the_settings(copy_run):
    from dataclasses import dataclass, field

    @dataclass(frozen=True)
    class WithSettings(ReadOptions):
        settings: dict = field(default_factory=dict)

    folder = relaxed(copy_run("graphene"))
    calc = read_calculation(folder, WithSettings(settings={"step": "0"}))
    assert calc.provenance.extra["step"] == 0
    with pytest.raises(UsageError, match="found 'last'"):
        read_calculation(folder, WithSettings(settings={"step": "last"}))


def test_positions_of_a_step_that_the_log_lacks(copy_run):
    folder = relaxed(copy_run("graphene"))
    path = folder / "data-HR-sparse_SPIN0.csr"
    path.write_bytes(path.read_bytes().replace(b"STEP: 1", b"STEP: 9"))
    with pytest.raises(MissingDataError, match="positions of ionic step 9"):
        abacus.read(folder)


def test_without_stru_the_log_is_enough(copy_run):
    folder = copy_run("graphene")
    (folder / "STRU").unlink()
    calc = abacus.read(folder)
    assert "six digits" in calc.provenance.extra["notes"][0]
    np.testing.assert_allclose(calc.structure.cell[0], [2.46, 0, 0], rtol=3e-6, atol=1e-9)


def test_a_stru_of_another_run_is_not_believed(copy_run):
    folder = copy_run("graphene")
    stru = folder / "STRU"
    stru.write_text(stru.read_text().replace("2.4600000000", "2.5600000000"))
    calc = abacus.read(folder)
    assert "another cell" in calc.provenance.extra["notes"][0]
    np.testing.assert_allclose(calc.structure.cell[0, 0], 2.46, rtol=3e-6)


def test_atoms_outside_the_cell_in_stru_are_folded_as_the_log_says(copy_run):
    folder = copy_run("graphene")
    stru = folder / "STRU"
    stru.write_text(
        stru.read_text().replace("0.3333333333 0.6666666667 0.5", "-0.6666666667 1.6666666667 -0.5")
    )
    calc = abacus.read(folder)
    np.testing.assert_allclose(calc.structure.fractional[0], [1 / 3, 2 / 3, 0.5], atol=1e-9)


def test_without_the_log_the_names_of_the_orbital_files_say_the_basis(copy_run):
    folder = copy_run("graphene")
    with_log = abacus.read(folder)
    (folder / "OUT.ABACUS" / "running_scf.log").unlink()
    calc = abacus.read(folder)
    assert calc.basis.ls("C") == (0, 0, 1, 1, 2)
    assert calc.fermi_level is None
    np.testing.assert_array_equal(calc.overlap.entries, with_log.overlap.entries)
    np.testing.assert_allclose(calc.structure.positions, with_log.structure.positions, atol=1e-12)
    stru = folder / "STRU"
    stru.write_text(stru.read_text().replace("C_gga_8au_100Ry_2s2p1d.orb", "carbon.orb"))
    with pytest.raises(MissingDataError, match=r"carbon\.orb"):
        abacus.read(folder)
    stru.unlink()
    with pytest.raises(MissingDataError, match="running_"):
        abacus.read(folder)


def test_an_unconverged_run_is_reported(copy_run):
    folder = copy_run("graphene")
    log = folder / "OUT.ABACUS" / "running_scf.log"
    log.write_text(log.read_text().replace("charge density convergence is achieved", ""))
    calc = abacus.read(folder)
    assert calc.provenance.extra["converged"] is False
    assert "did not converge" in calc.provenance.extra["notes"][0]
