"""Basis files of the DeepH programs: read as --basis, written of any run, and what is refused."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters.basis_files import basis_for, detect_code, read_basis_folder
from dock.converters.format import WriteOptions
from dock.converters.radial_h5 import read_radial_file
from dock.core.basis import Basis, Radial, Shell
from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, LossError, MissingDataError, UsageError
from dock.overlap.assemble import compute_overlap
from dock.overlap.radial import gaussian_radial

SILICON = Path("fixtures/qe/si_3s3p2d")
DIAMOND = Structure(2.715 * (1 - np.eye(3)), 1.3575 * np.array([[0, 0, 0], [1, 1, 1]]), [14, 14])
BOHR = 0.529177210903


def calculation(structure, species, code="SIESTA"):
    basis = basis_for(structure, species)
    return Calculation(structure, basis, Spin.NONE, {}, provenance=Provenance(code))


def overlap(structure, folder, **options):
    return compute_overlap(structure, basis_for(structure, read_basis_folder(folder, **options)))


def largest_difference(first, second):
    assert first.pairs.is_same(second.pairs)
    return float(np.abs(first.entries - second.entries).max())


# ------------------------------------------------------------------------------------- reading


@pytest.mark.shared
@pytest.mark.parametrize("place", ["", "basis", "species.h5", "basis/Si.h5"])
def test_case_g1_gives_the_overlap_of_its_ion_file(shared, tmp_path, place):
    case = shared / "cases/K12-deeph-2026/G1_basis"
    for name, basis in (("h5", case / place), ("ion", SILICON)):
        (tmp_path / name).mkdir()
        shutil.copy(case / "POSCAR", tmp_path / name)
        poscar = tmp_path / name / "POSCAR"
        assert samples.cli("compute-overlap", poscar, "--basis", basis).code == 0
    h5, ion = (dock.read(tmp_path / name).overlap for name in ("h5", "ion"))
    assert len(ion.pairs) == 246
    assert largest_difference(h5, ion) < 1e-11


def test_every_door_to_the_files(tmp_path):
    """A folder with species files, one with El.h5 in basis/, and the files themselves."""
    calc = calculation(DIAMOND, read_basis_folder(SILICON))
    both = tmp_path / "both"
    dock.write(calc, both, "species-h5", settings={"xc": "PBE"})
    dock.write(calc, both, "species-h5", settings={"layout": "element"})
    species, element = both / "species_siesta_PBE.h5", both / "basis/Si.h5"
    reference = overlap(DIAMOND, SILICON)
    for path in (both, species, element.parent, element):
        assert detect_code(path) == "deeph"
        assert largest_difference(overlap(DIAMOND, path), reference) < 1e-14
    species.unlink()
    assert read_basis_folder(both)["Si"].path == element
    shutil.copy(SILICON / "Si.ion", both)  # a code's own files come first
    assert detect_code(both) == "siesta"
    assert read_basis_folder(both, "deeph")["Si"].path == element
    with pytest.raises(MissingDataError, match=r"species\*\.h5 or basis/El\.h5 \(deeph\)"):
        detect_code(Path("fixtures/unified/si"))


def element_file(path, radials, *, old=False, **attributes):
    """Write ``El.h5`` by the notes on the format: one function of each l, Bohr."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"element": "C", "source": "siesta", "units_length": "bohr"})
        file.attrs.update(attributes)
        file["mul_list"] = np.ones(len(radials), dtype=np.int32)
        if old:
            file["radial_grid"] = radials[0].r / BOHR
            file["radial_basis"] = [radial.values * BOHR**1.5 for radial in radials]
            return
        width = max(len(radial.r) for radial in radials)
        mesh, values = np.zeros((2, len(radials), width))
        for row, radial in enumerate(radials):
            mesh[row, : len(radial.r)] = radial.r / BOHR
            values[row, : len(radial.r)] = radial.values * BOHR**1.5
        file["cutoff_radii"] = [radial.cutoff / BOHR for radial in radials]
        file["grid_length"] = [len(radial.r) for radial in radials]
        file["radius_grid"], file["radius_basis"] = mesh, values


@pytest.mark.parametrize("old", [False, True])
def test_both_schemas_of_an_element(tmp_path, old):
    radials = [gaussian_radial(l, 1.5, cutoff=4.0 if old else 4.0 + l) for l in range(3)]
    if not old:  # meshes of other lengths, padded with zeros
        radials[1] = Radial(radials[1].r[::2], radials[1].values[::2])
    element_file(tmp_path / "C.h5", radials, old=old)
    (item,) = read_radial_file(tmp_path / "C.h5")
    assert (item.label, item.number, item.valence) == ("C", 6, None)
    assert [shell.l for shell in item.shells] == [0, 1, 2]
    for shell, wanted in zip(item.shells, radials, strict=True):
        np.testing.assert_allclose(shell.radial.r, wanted.r, rtol=1e-15)
        np.testing.assert_allclose(shell.radial.values, wanted.values, rtol=1e-14)
        assert abs(shell.radial.cutoff - wanted.cutoff) < 1e-14


def species_file(path, radials, convention=None, two_j=0, **attributes):
    """Write ``species_*.h5`` with one species X1 of carbon, as the notes say."""
    element_file(path, radials)
    with h5py.File(path, "a") as file:
        group = file.create_group("X1")
        group.attrs.update({"element": "C", "species_name": "X1", "valence_electrons": 4.0})
        for name in ("cutoff_radii", "grid_length", "radius_grid"):
            file.move(name, f"X1/basis/{name}")
        file.move("radius_basis", "X1/basis/radius_data")
        n = len(radials)
        group["basis/nljz_list"] = np.array([[l + 1, l, two_j, 1] for l in range(n)], np.int32)
        group["pseudopotential/nonlocal/cutoff_radii"] = [1.0, 2.0]
        if convention is not None:
            group["basis"].attrs["radial_value_convention"] = convention
        file.attrs.update(attributes)
        del file["mul_list"]


@pytest.mark.parametrize(
    ("source", "bohr"), [("siesta", BOHR), ("FHI-aims", 0.52917721), ("HPRO", 0.529177249)]
)
def test_a_species_file_as_the_notes_have_it(tmp_path, source, bohr):
    radials = [gaussian_radial(l, 1.0) for l in (0, 1)]
    species_file(tmp_path / "species.h5", radials, "u/r", source=source)
    item = read_basis_folder(tmp_path)["X1"]
    assert (item.number, item.valence) == (6, 4.0)
    assert abs(item.projector_cutoff - 2 * bohr) < 1e-15
    assert [(shell.l, shell.label) for shell in item.shells] == [(0, "1s z1"), (1, "2p z1")]
    np.testing.assert_allclose(item.shells[1].radial.r, radials[1].r * bohr / BOHR, rtol=1e-15)
    assert abs(item.shells[1].radial.norm - 1) < 1e-6


def test_lengths_in_angstrom_and_other_words_for_the_same_function(tmp_path):
    radials = [gaussian_radial(0, 1.0)]
    species_file(tmp_path / "species.h5", radials, "wave function over r")
    assert read_basis_folder(tmp_path)["X1"].shells[0].radial.norm > 0.999
    with h5py.File(tmp_path / "species.h5", "a") as file:
        file.attrs["units_length"] = "angstrom"
    shell = read_basis_folder(tmp_path)["X1"].shells[0]
    np.testing.assert_allclose(shell.radial.r, radials[0].r / BOHR, rtol=1e-15)


def damage(path, what):
    with h5py.File(path, "a") as file:
        what(file)


def put(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


BASIS = "X1/basis"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda file: file.clear(), r"this is no basis file\. Expected mul_list, or"),
        (put(f"{BASIS}/nljz_list", [[1, 0, 0, 1]]), "shells and tables disagree"),
        (put(f"{BASIS}/nljz_list", [1, 0, 0, 1]), "a dataset is wrong"),
        (put(f"{BASIS}/nljz_list", [[1, 0, 1, 1], [2, 1, 3, 1]]), "are given for each j"),
        (put(f"{BASIS}/nljz_list", [[1, 0, 0, 1], [2, 99, 0, 1]]), "shells and tables disagree"),
        (put(f"{BASIS}/grid_length", [5, 999999]), "the tables are cut"),
        (put(f"{BASIS}/cutoff_radii", [5.0]), "the tables are cut"),
        (put(f"{BASIS}/cutoff_radii", [99.0, np.nan]), "numbers are not finite"),
        (put(f"{BASIS}/radius_grid", np.zeros((2, 1501))), "the radii do not increase"),
        (put(f"{BASIS}/radius_grid", np.zeros((2, 7))), "meshes and values disagree"),
        (lambda file: file.pop(f"{BASIS}/radius_data"), "radius_basis or radius_data"),
        (lambda file: file.attrs.update(units_length="nm"), "the unit of length is unknown"),
        (lambda file: file["X1"].attrs.update(element="Xx"), "'Xx' is no element"),
    ],
)
def test_faults_of_a_species_file(tmp_path, what, message):
    path = tmp_path / "species_aims_PBE.h5"
    species_file(path, [gaussian_radial(l, 1.0) for l in (0, 1)])
    damage(path, what)
    with pytest.raises(FormatError, match=message) as caught:
        read_basis_folder(tmp_path)
    samples.named(caught.value, path)


def test_values_of_an_unknown_kind_are_refused(tmp_path):
    radial = gaussian_radial(0, 1.0)
    path = tmp_path / "species.h5"
    species_file(path, [Radial(radial.r, radial.values * radial.r)], "u")
    with pytest.raises(FormatError, match=r"values are of an unknown kind.*'u', ∫R²r²dr from"):
        read_basis_folder(tmp_path)
    with h5py.File(path, "a") as file:
        word = file["X1/basis"].attrs.pop("radial_value_convention")
        file["X1/basis/radius_data"].attrs["radial_value_convention"] = word
    with pytest.raises(FormatError, match="values are of an unknown kind"):
        read_basis_folder(tmp_path)


def test_a_mesh_that_ends_before_the_cutoff(tmp_path):
    radial = gaussian_radial(0, 1.0, cutoff=1.0)
    species_file(tmp_path / "species.h5", [radial])
    damage(tmp_path / "species.h5", put(f"{BASIS}/cutoff_radii", [9.0]))
    with pytest.raises(FormatError, match="the mesh ends before the cutoff"):
        read_basis_folder(tmp_path)


def test_an_element_under_another_name(tmp_path):
    element_file(tmp_path / "Si.h5", [gaussian_radial(0, 1.0)])
    with pytest.raises(FormatError, match=r"Expected the element Si\. Found C"):
        read_basis_folder(tmp_path)


def test_two_files_of_one_species(tmp_path):
    for xc in ("LDA", "PBE"):
        species_file(tmp_path / f"species_aims_{xc}.h5", [gaussian_radial(0, 1.0)])
    with pytest.raises(UsageError, match="are both for the species X1"):
        read_basis_folder(tmp_path)
    assert set(read_basis_folder(tmp_path / "species_aims_LDA.h5")) == {"X1"}


# ------------------------------------------------------------------------------------- writing


def came_back(tmp_path, reference, target="h5"):
    """Return the largest difference of the overlaps of a basis and of what was written of it."""
    path = tmp_path / target
    S = compute_overlap(reference.structure, reference.basis)
    return largest_difference(overlap(reference.structure, path), S)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("run", "basis", "strings", "source"),
    [
        ("siesta/h2o", "fixtures/siesta/h2o", {}, "siesta"),
        ("openmx/h2o", "public/openmx/pao", {"O": "O5.0-s2p1", "H": "H5.0-s2p1"}, "openmx"),
        ("abacus/graphene", "public/abacus/orb/C*.orb", {}, "abacus"),
    ],
)
def test_ion_pao_and_orb_give_the_same_overlap(shared, tmp_path, run, basis, strings, source):
    """`dock convert RUN --to species-h5`: the overlap is equal to its last digit."""
    folder = shared / basis
    if "*" in basis:
        folder = tmp_path / "basis"
        folder.mkdir()
        for path in (shared / basis).parent.glob(Path(basis).name):
            shutil.copy(path, folder)
    fixture = Path("fixtures") / run
    calc = dock.read(fixture)
    names = [f"{label}={text}" for label, text in strings.items()]
    words = [word for name in names for word in ("--species", name)]
    answer = samples.cli(
        "convert", fixture, "--to", "species-h5", "--basis", folder, "-o", tmp_path / "h5", *words
    )
    assert answer.code == 0, answer.err
    assert answer.out.strip() == str(tmp_path / f"h5/species_{source}.h5")
    for layout in ("species", "element"):
        species = read_basis_folder(folder, strings=strings)
        reference = calculation(calc.structure, species, source)
        dock.write(reference, tmp_path / layout, "species-h5", settings={"layout": layout})
        assert came_back(tmp_path, reference, layout) < 1e-14
    assert came_back(tmp_path, reference) < 1e-14


def test_what_is_known_of_a_run_goes_along(tmp_path):
    """Numbers of the shells; of the basis files the valence electrons, and their name."""
    words = ("fixtures/siesta/graphene", "--to", "species-h5", "--set", "xc=PBE", "-o", tmp_path)
    assert samples.cli("convert", *words).code == 0
    with h5py.File(tmp_path / "species_siesta_PBE.h5") as file:
        group, basis = file["C"], file["C/basis"]
        assert {file.attrs[key] for key in ("source", "units_length")} == {"siesta", "bohr"}
        assert (file.attrs["xc_functional"], group.attrs["xc_functional"]) == ("PBE", "PBE")
        assert (group.attrs["element"], group.attrs["basis_source"]) == ("C", "C.ion.nc")
        assert group.attrs["valence_electrons"] == 4.0
        assert file.attrs["global_nmax"] == basis["radius_data"].shape[1]
        assert basis["nljz_list"][()].tolist() == [
            [2, 0, 0, 1], [2, 0, 0, 2], [2, 1, 0, 1], [2, 1, 0, 2], [3, 2, 0, 1]
        ]  # fmt: skip
        norms = (
            np.trapezoid((basis["radius_data"][()] * basis["radius_grid"][()]) ** 2)
            * (basis["radius_grid"][:, 1])
        )
        np.testing.assert_allclose(norms, 1, atol=1e-3)
    (item,) = read_basis_folder(tmp_path).values()
    (ion,) = read_basis_folder("fixtures/siesta/graphene").values()
    assert item.valence == ion.valence
    assert abs(item.projector_cutoff - ion.projector_cutoff) < 1e-14


def test_a_unified_folder_with_a_basis(tmp_path):
    """A folder has no radial functions: they come with --basis, and must have its shells."""
    dock.write(dock.read("fixtures/siesta/graphene"), tmp_path / "graphene")
    words = ("convert", tmp_path / "graphene", "--to", "species-h5", "-o", tmp_path / "h5")
    samples.refused(
        samples.cli(*words), "the radial function of a shell of C is missing", "--basis"
    )
    samples.refused(samples.cli(*words, "--basis", SILICON), "the basis of species C is missing")
    assert not (tmp_path / "h5").exists()
    assert samples.cli(*words, "--basis", "fixtures/siesta/graphene").code == 0
    assert set(read_basis_folder(tmp_path / "h5")) == {"C"}


def test_other_shells_than_the_matrices(tmp_path):
    calc = calculation(DIAMOND, {"Si": read_basis_folder(SILICON)["Si"]})
    other = Basis({"Si": (Shell(0), Shell(1))}, DIAMOND.labels)
    plain = Calculation(DIAMOND, other, Spin.NONE, {})
    dock.write(calc, tmp_path / "h5", "species-h5")
    with pytest.raises(LayoutError, match="have other shells than the matrices"):
        dock.write(plain, tmp_path / "a", "species-h5", WriteOptions(basis=tmp_path / "h5"))


def test_an_order_that_element_files_do_not_have(tmp_path):
    shells = tuple(Shell(l, radial=gaussian_radial(l, 1.0)) for l in (1, 0))
    calc = Calculation(DIAMOND, Basis({"Si": shells}, DIAMOND.labels), Spin.NONE, {})
    with pytest.raises(LossError, match=r"Si has l = \[1, 0\]"):
        dock.write(calc, tmp_path / "a", "species-h5", settings={"layout": "element"})
    assert not list(tmp_path.iterdir())
    dock.write(calc, tmp_path / "a", "species-h5")
    assert came_back(tmp_path, calc, "a") < 1e-14


def test_shells_of_fhi_aims_keep_their_numbers(tmp_path):
    """Two functions of one n and l are told apart by zeta, in the order of basis-indices.out."""
    names = ["atomic 1s", "ionic 3s", "atomic 3s", "hydro 2p", "4Ps z1", "s0", "s zeta 2"]
    ls = [0, 0, 0, 1, 0, 0, 0]
    radial = gaussian_radial(0, 1.0)
    shells = tuple(Shell(l, name, radial) for l, name in zip(ls, names, strict=True))
    calc = Calculation(DIAMOND, Basis({"Si": shells}, DIAMOND.labels), Spin.NONE, {})
    (path,) = dock.write(calc, tmp_path / "a", "species-h5")
    with h5py.File(path) as file:
        table = file["Si/basis/nljz_list"][()].tolist()
    assert [(n, zeta) for n, _, _, zeta in table] == [
        (1, 1), (3, 1), (3, 2), (2, 1), (4, 1), (1, 2), (1, 3)
    ]  # fmt: skip


def test_a_file_that_was_cut(tmp_path):
    species_file(tmp_path / "species.h5", [gaussian_radial(l, 1.0) for l in (0, 1)])
    content = (tmp_path / "species.h5").read_bytes()
    for length in (0, 7, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "species.h5").write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"species\.h5"):
            read_basis_folder(tmp_path)
