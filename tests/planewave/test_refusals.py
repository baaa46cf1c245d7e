"""What does not belong together, or is no norm-conserving run, is refused with a sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import samples

from dock.converters.qe import PlaneWaveDensity, read_density
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError
from dock.planewave.facts import read_facts, read_pseudos, require_local_density, require_supported
from dock.planewave.local_potential import density_potential, require_matching
from dock.planewave.upf import read_upf
from dock.planewave.vsc import read_vsc
from dock.planewave.wavefunctions import read_states
from dock.planewave.xc import functional_of

pytestmark = pytest.mark.shared
SI = "Si_ONCV_PBE-1.0.upf"


@pytest.fixture
def run(shared, tmp_path):
    """Return a copy of silicon with its pseudopotential, VSC and basis."""
    place = tmp_path / "run"
    shutil.copytree(shared / "public/qe/si_projection", place)
    shutil.copy(shared / "public/qe/pseudo" / SI, place / "si.save")
    for file in place.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return place


def _refuse(run, *words, settings=()):
    """The command ends with 2 and a sentence, and writes nothing."""
    target = run / "out"
    answer = samples.cli(
        "convert", run / "si.save", "--basis", run / "aobasis", "-o", target, *settings
    )
    samples.refused(answer, *words)
    assert not target.exists()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('pseudo_type="NC"', 'pseudo_type="US"', "ultrasoft"),
        ('is_paw="F"', 'is_paw="T"', "PAW"),
        ('is_ultrasoft="F"', 'is_ultrasoft="T"', "ultrasoft"),
    ],
)
def test_other_families_of_pseudopotentials(run, old, new, word):
    file = run / "si.save" / SI
    file.write_text(file.read_text().replace(old, new))
    _refuse(run, word, "norm-conserving", "Augmentation")


def test_damaged_pseudopotentials(run):
    file = run / "si.save" / SI
    text = file.read_text()
    for broken, word in (
        (text[: len(text) // 2], "valid XML"),
        (text.replace("<PP_DIJ", "<PP_DJI").replace("</PP_DIJ", "</PP_DJI"), "PP_DIJ"),
        (text.replace('element="Si"', 'element="Ge"'), "element"),
        (text.replace('z_valence="    4.00"', 'z_valence="    5.00"'), "electrons"),
        ("<PP_HEADER>", "version 1"),
        ("nothing", "no pseudopotential"),
    ):
        file.write_text(broken)
        _refuse(run, word)


def test_missing_pseudopotential(run):
    (run / "si.save" / SI).unlink()
    _refuse(run, SI, "pseudo=DIR")


def test_another_cut_off_of_the_density(run, shared):
    shutil.copy(shared / "fixtures/qe/si/si.save/charge-density.dat", run / "si.save")
    _refuse(run, "another cut-off", settings=("--potential", "density"))


def test_another_potential(run, shared, tmp_path):
    data = (run / "VSC").read_bytes()
    other = tmp_path / "VSC"
    for content, word in (
        (data[:3000], "cut"),
        (b"", "no VSC"),
        (data.replace(b"VSC-Complex", b"VSC-Real   "), "title"),
        (data.replace(b"VSC-Complex", b"RHO-Complex"), "title"),
    ):
        other.write_bytes(content)
        _refuse(run, word, settings=("--potential", other))
    _refuse(run, "missing", settings=("--potential", tmp_path / "nowhere"))


def test_the_title_of_old_versions(run):
    """pw2bgw.x of QE 6.7 writes VXC into a VSC."""
    file = run / "VSC"
    before = read_vsc(file)
    file.write_bytes(file.read_bytes().replace(b"VSC-Complex", b"VXC-Complex"))
    assert np.array_equal(read_vsc(file).values, before.values)


def test_magnetic_potential(run):
    from dock.planewave import projection

    waves = read_vsc(run / "VSC")
    double = PlaneWaveDensity(waves.reciprocal, waves.miller, np.repeat(waves.values, 2, axis=0))
    with pytest.raises(FormatError, match="2 spin components, and the run is not magnetic"):
        projection._require_fitting(double, read_facts(run), run / "VSC")
    facts = read_facts(run)
    spinors = replace(facts, run=replace(facts.run, spin=Spin.NONCOLLINEAR), has_magnetization=True)
    with pytest.raises(FormatError, match="no non-collinear magnetic field"):
        projection._require_fitting(waves, spinors, run / "VSC")


def test_no_wave_functions(run):
    _refuse(run, "wfc1.dat or wfc1.hdf5", settings=("--quality",))


def test_damaged_wave_functions(shared, tmp_path):
    data = (shared / "fixtures/qe/si/si.save/wfc1.dat").read_bytes()
    for content in (data[:-100], data[:48], b"", data[:30]):
        (tmp_path / "wfc1.dat").write_bytes(content)
        with pytest.raises(FormatError, match="wfc1"):
            read_states(tmp_path, Spin.NONE, 0)
    with pytest.raises(MissingDataError, match=r"wfc2\.dat or wfc2\.hdf5"):
        read_states(tmp_path, Spin.NONE, 1)


def test_both_kinds_of_wave_function_file(shared, tmp_path):
    """The same states, as a pw.x built with HDF5 writes them."""
    import h5py

    source = shared / "fixtures/qe/si/si.save"
    first = read_states(source, Spin.NONE, 0)
    with h5py.File(tmp_path / "wfc1.hdf5", "w") as file:
        file.attrs["xk"], file.attrs["npol"] = first.k, 1
        file.attrs["gamma_only"] = np.bytes_(b".FALSE.")
        indices = file.create_dataset("MillerIndices", data=first.miller)
        for n, vector in enumerate(first.reciprocal, 1):
            indices.attrs[f"bg{n}"] = vector
        file.create_dataset("evc", data=np.ascontiguousarray(first.coefficients[:, 0]).view(float))
    again = read_states(tmp_path, Spin.NONE, 0)
    assert np.array_equal(again.coefficients, first.coefficients)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<functional>PBE</functional>", "<functional>PBE</functional><dftU/>", "DFT+U"),
        ("<functional>PBE</functional>", "<functional>PBE</functional><hybrid/>", "exact exchange"),
    ],
)
def test_terms_that_are_not_local(run, old, new, word):
    file = run / "si.save/data-file-schema.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UsageError, match=word.replace("+", r"\+")):
        require_supported(read_facts(run))


def test_functionals():
    with pytest.raises(UsageError, match="SCAN"):
        functional_of("SCAN")


def test_truncated_coulomb_interaction(run):
    file = run / "si.save/data-file-schema.xml"
    text = file.read_text()
    extra = "<boundary_conditions><assume_isolated>2D</assume_isolated></boundary_conditions>"
    file.write_text(text.replace("</input>", f"{extra}</input>"))
    with pytest.raises(UsageError, match="2d"):
        require_local_density(read_facts(run))


def test_densities_that_are_not_the_runs(run):
    facts = read_facts(run)
    density = read_density(facts.folder)
    pseudos = read_pseudos(facts)
    wrong = PlaneWaveDensity(density.reciprocal * 1.01, density.miller, density.values)
    with pytest.raises(FormatError, match="different cells"):
        density_potential(facts, wrong, pseudos)
    wrong = PlaneWaveDensity(density.reciprocal, density.miller, 1.1 * density.values)
    with pytest.raises(FormatError, match="electrons"):
        require_matching(wrong, facts)
    wrong = PlaneWaveDensity(
        density.reciprocal, density.miller, np.repeat(density.values, 2, axis=0)
    )
    with pytest.raises(FormatError, match="spin components"):
        require_matching(wrong, facts)


def test_settings(run):
    _refuse(run, "cutoff", settings=("--set", "cutoff=much"))
    _refuse(run, "quality", settings=("--set", "quality=best"))
    _refuse(run, "orbitals", settings=("--set", "orbitals=s2p2d1"))
    answer = samples.cli("convert", run / "si.save", "--from", "qe-orbitals", "-o", run / "out")
    samples.refused(answer, "--basis")


def test_a_basis_for_something_else_is_doubted(run, shared):
    """A basis of one s function can be projected on, and the report says what it is worth."""
    from dock.core.basis import Basis, Shell
    from dock.overlap.radial import gaussian_radial
    from dock.planewave import Request, project

    shell = Shell(0, radial=gaussian_radial(0, 1.0))
    four = Shell(1, radial=gaussian_radial(1, 1.0))
    basis = Basis({"Si": (shell, four)}, ("Si", "Si"))
    quality = project(run, basis, Request("vsc")).quality
    assert any("another pseudopotential" in doubt for doubt in quality.doubts)
    assert read_upf(run / "si.save" / SI).valence == 4
