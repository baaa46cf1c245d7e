"""From the unified folder back to OpenMX: the same numbers, read by a reader of its own."""

import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.converters.openmx.dat import parse_input
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LossError, MissingDataError, UsageError

plain = samples.plain_scfout()
restart = samples.beside(__file__, "independent_restart")
RELATIVE = 1e-12  # of the largest entry: sums and products with the code's own constants
SHARED = ["fe-spin", "gaas-soc", "graphene"]


def witness(path):
    """Read a file with the independent reader."""
    return plain.read(path.read_bytes())


def through_unified(source, tmp_path, **options):
    """scfout → unified folder → scfout."""
    dock.write(dock.read(source), tmp_path / "unified", options=WriteOptions(allow_lossy=True))
    back = dock.read(tmp_path / "unified")
    return dock.write(back, tmp_path / "back", "openmx", WriteOptions(**options))[0]


def matrices(content):
    """Name the blocks of a witness; with spin–orbit only the sum of the two Im H_ud counts."""
    H, iH, S = content["H"], content["iH"], content["S"]
    found = {f"H{n}": part for n, part in enumerate(H[:3])}
    if content["spin"] == 3:
        found["Im H_ud"] = {key: np.add(H[3][key], iH[2][key]) for key in S}
        found |= {"iH0": iH[0], "iH1": iH[1]}
    found |= {"S": S} | {f"DM{n}": part for n, part in enumerate(content["DM"])}
    found |= {f"iDM{n}": part for n, part in enumerate(content["iDM"])}
    found |= {f"r{axis}": orders[0] for axis, orders in enumerate(content["po"])}
    return found | {f"grad{axis}": part for axis, part in enumerate(content["mo"])}


MADE_UP = ("r0", "r1", "r2")  # random numbers are no position matrix, and are left out


def assert_same(first, second, but=()):
    """Compare two files block by block; lattice vectors and atoms name the blocks."""
    one, two = matrices(first), matrices(second)
    for name, blocks in one.items():
        if name in but:
            continue
        if name.startswith("iDM") and first["spin"] != 3:
            continue  # OpenMX leaves noise there
        assert set(blocks) == set(two[name]), name
        scale = max(np.abs(block).max() for block in blocks.values())
        for key, block in blocks.items():
            worst = np.abs(np.subtract(block, two[name][key])).max()
            assert worst <= RELATIVE * scale, (name, key, worst, scale)
    for key, tolerance in (("tv", 1e-14), ("xyz", 1e-14), ("tail", 1e-13)):
        np.testing.assert_allclose(first[key], second[key], rtol=tolerance, atol=1e-13)


@pytest.mark.parametrize("name", samples.BUNDLED)
def test_round_trip_through_the_unified_folder(bundled, tmp_path, name):
    source = bundled / "openmx" / name / f"{name}.scfout"
    path = through_unified(source, tmp_path)
    original, again = witness(source), witness(path)
    assert path.name == source.name
    assert (again["version"], again["left"]) == (3, 0)
    assert_same(original, again)
    assert again["lines"] == original["lines"]
    # For OpenMX the self pair comes first, atoms in order: its own tools rely on it.
    assert [(natn[0], ncn[0]) for natn, ncn in zip(again["natn"], again["ncn"], strict=True)] == [
        (atom, 0) for atom in range(1, again["atoms"] + 1)
    ]
    if original["version"] == 3:
        assert again["ijk"] == original["ijk"]


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED)
def test_round_trip_of_the_reference_data(shared, tmp_path, name):
    source = shared / "fixtures" / "openmx" / name / f"{name}.scfout"
    samples.same_matrices(dock.read(source), dock.read(through_unified(source, tmp_path)), RELATIVE)


def test_mixed_elements_come_back_in_the_source_order(bundled, tmp_path):
    water = dock.read(bundled / "openmx" / "h2o").permute_atoms([1, 0, 2])
    first = dock.write(water, tmp_path / "hoh", "openmx")[0]
    calc = dock.read(first)
    assert calc.structure.symbols == ("H", "O", "H")
    dock.write(calc, tmp_path / "unified")
    assert (tmp_path / "unified" / "POSCAR").read_text().splitlines()[5:7] == ["H O", "2 1"]
    grouped = dock.read(tmp_path / "unified")
    np.testing.assert_array_equal(grouped.structure.positions, calc.structure.positions[[0, 2, 1]])
    samples.same_matrices(grouped, calc.permute_atoms([0, 2, 1]))
    second = dock.write(grouped, tmp_path / "back", "openmx")[0]
    assert_same(witness(first), witness(second))
    assert dock.read(second).structure.symbols == ("H", "O", "H")
    # and once more through a second unified folder, which inherits the order
    dock.write(grouped, tmp_path / "again")
    assert dock.read(tmp_path / "again").provenance.extra["source_order"] == [0, 2, 1]


def labelled(tmp_path, basis_1, basis_2, counts):
    """An OpenMX run with two species of one element."""
    text = f"""System.Name fe
Species.Number 2
<Definition.of.Atomic.Species
 Fe1 Fe6.0S-{basis_1} Fe_PBE19S
 Fe2 Fe6.0S-{basis_2} Fe_PBE19S
Definition.of.Atomic.Species>
Atoms.Number 2
Atoms.SpeciesAndCoordinates.Unit AU
<Atoms.SpeciesAndCoordinates
 1 Fe1 0 0 0 7 7
 2 Fe2 1 1 1 7 7
Atoms.SpeciesAndCoordinates>
"""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "fe.scfout"
    path.write_bytes(plain.build(no=counts, text=text))
    return path


def test_labels_of_one_element_with_equal_bases(tmp_path):
    source = labelled(tmp_path, "s1p1", "s1p1", (4, 4))
    path = through_unified(source, tmp_path)
    unified = dock.read(tmp_path / "unified")
    assert unified.structure.labels == ("Fe1", "Fe2")
    assert (tmp_path / "unified" / "POSCAR").read_text().splitlines()[5:7] == ["Fe", "2"]
    assert_same(witness(source), witness(path), but=MADE_UP)
    assert dock.read(path).structure.labels == ("Fe1", "Fe2")


def test_labels_of_one_element_with_different_bases(tmp_path):
    source = labelled(tmp_path, "s1p1", "s1", (4, 1))
    with pytest.raises(LossError, match=r"Fe has two bases.*allow_lossy=True.*My1"):
        dock.write(dock.read(source), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    path = through_unified(source, tmp_path)
    lines = (tmp_path / "unified" / "POSCAR").read_text().splitlines()
    assert lines[5:7] == ["Fe My1", "1 1"]
    assert_same(witness(source), witness(path), but=MADE_UP)
    assert dock.read(path).structure.symbols == ("Fe", "Fe")  # the embedded input knows


class TestGeneratedInput:
    """The source is another program: the text that OpenMX's tools need is made."""

    @pytest.mark.shared
    def test_public_folder(self, shared, tmp_path):
        calc = dock.read(shared / "public" / "deeph" / "MoTe2")
        path = dock.write(calc, tmp_path / "run", "openmx")[0]
        assert path.name == "dock.scfout"
        content = witness(path)
        text = b"\n".join(content["lines"]).decode()
        source = parse_input(text, "text")
        assert source.labels == calc.structure.labels
        assert [str(one.pao).partition("-")[2] for one in source.species] == ["s3p2d2", "s3p2d2"]
        assert content["no"] == [19, 19, 19]
        again = dock.read(path)
        assert again.basis.ls("Mo") == (0, 0, 0, 1, 1, 2, 2)
        for name in calc.available:
            expected, found = calc.require(name), again.require(name)
            assert found.pairs.difference(expected.pairs) == ""
            found = found.on_pairs(expected.pairs)
            scale = np.abs(expected.entries).max()
            assert np.abs(found.entries - expected.entries).max() <= RELATIVE * scale
        assert again.fermi_level == pytest.approx(calc.fermi_level, abs=1e-12)
        assert not any(np.any(block) for block in content["DM"][0].values())  # zeros, as announced

    @pytest.mark.shared
    def test_what_is_written_as_zeros_is_said(self, shared, tmp_path):
        folder = shared / "public" / "deeph" / "MoTe2"
        answer = samples.cli("convert", folder, "--to", "openmx", "-o", tmp_path / "run")
        assert answer.code == 0
        assert "written as zeros" in answer.err
        assert "density_matrix, position, gradient" in answer.err

    def test_shells_are_brought_into_ascending_l(self, tmp_path, rng):
        """OpenMX knows only s, p, d …; a basis p, s, d, s is turned into s, s, p, d."""
        structure = Structure(np.eye(3) * 6, [[0, 0, 0], [1.1, 0.3, 0.2]], [6, 6])
        basis = Basis.from_ls({"C": [1, 0, 2, 0]}, structure.labels)
        pairs = Pairs(np.zeros((4, 3)), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), 2)
        half = rng.normal(size=(1, 4 * 100))
        given = AOMatrix("overlap", structure, basis, pairs, Spin.NONE, half).hermitian_part()
        H = AOMatrix("hamiltonian", structure, basis, pairs, Spin.NONE, 3 * given.entries)
        calc = Calculation(structure, basis, Spin.NONE, {"overlap": given, "hamiltonian": H})
        path = dock.write(calc, tmp_path / "run", "openmx")[0]
        content = witness(path)
        again = dock.read(path)
        assert again.basis.ls("C") == (0, 0, 1, 2)
        # our order: p y z x, s, d xy yz z2 xz x2-y2, s; OpenMX: s s, p x y z, d z2 x2 xy xz yz
        place = [3, 9, 2, 0, 1, 6, 8, 4, 7, 5]
        block = given.block([0, 0, 0], 0, 1)[np.ix_(place, place)]
        np.testing.assert_array_equal(content["S"][1, 2, (0, 0, 0)], block)

    def test_spin_words(self, bundled, tmp_path):
        for name, word, switch in (("o2-spin", "on", 1), ("o2-nc-soc", "nc", 3)):
            calc = dock.read(bundled / "openmx" / name)
            stranger = calc.replace(provenance=dock.core.calculation.Provenance("other"))
            path = dock.write(stranger, tmp_path / name, "openmx")[0]
            content = witness(path)
            assert content["spin"] == switch
            source = parse_input(b"\n".join(content["lines"]).decode(), "text")
            assert (source.spin, source.spin_orbit) == (word, switch == 3)
            samples.same_matrices(calc, dock.read(path), RELATIVE)


class TestRefusals:
    def test_a_folder_without_overlap(self, tmp_path):
        folder = samples.unified(tmp_path / "x")
        (folder / "overlap.h5").unlink()
        with pytest.raises(MissingDataError, match="overlap"):
            dock.write(dock.read(folder), tmp_path / "run", "openmx")
        assert samples.names(tmp_path) == ["x"]

    def test_spin_orbit_needs_spinors_and_its_absence_may_lose(self, bundled, tmp_path):
        def write(system, **settings):
            calc = dock.read(bundled / "openmx" / system)
            return dock.write(calc, tmp_path / "x", "openmx", WriteOptions(settings=settings))

        with pytest.raises(UsageError, match="non-collinear"):
            write("si", spin_orbit="on")
        with pytest.raises(UsageError, match="on or off"):
            write("si", spin_orbit="maybe")
        with pytest.raises(LossError, match=r"spin_orbit.: .on."):
            write("o2-nc-soc", spin_orbit="off")
        with pytest.raises(UsageError, match=r"no setting grid.*It has: name, spin_orbit"):
            write("si", grid="1,2,3")
        for name in ("../si", "", ".", "a b", "a/b"):
            with pytest.raises(UsageError, match=r"System\.Name"):
                write("si", name=name)
        assert list(tmp_path.iterdir()) == []
        assert write("si", name="other")[0].name == "other.scfout"

    def test_quantities_that_openmx_has_no_place_for(self, bundled, tmp_path):
        calc = dock.read(bundled / "openmx" / "si")
        S = calc.require("S")
        kinetic = AOMatrix("kinetic", S.structure, S.basis, S.pairs, S.spin, S.entries)
        more = calc.replace(matrices={"S": S, "H": calc.require("H"), "T": kinetic})
        with pytest.raises(LossError, match=r"cannot hold the kinetic.*allow_lossy=True"):
            dock.write(more, tmp_path / "x", "openmx")
        dock.write(more, tmp_path / "x", "openmx", WriteOptions(allow_lossy=True))


class TestRestart:
    @pytest.mark.parametrize("name", ["h2o", "o2-spin", "o2-nc-soc"])
    def test_files_hold_the_matrices_of_the_run(self, bundled, tmp_path, name):
        source = witness(bundled / "openmx" / name / f"{name}.scfout")
        unified = samples.unified(tmp_path / "unified", name)
        command = ["convert", unified, "--to", "openmx-restart", "-o", tmp_path / "run"]
        samples.refused(samples.cli(*command), "cannot hold the position", "--matrices")
        command += ["--matrices", "H,S,DM"]
        answer = samples.cli(*command, "--set", "grid=24,30,36")
        assert answer.code == 0, answer
        folder = tmp_path / "run" / f"{name}_rst"
        assert restart.read_grid(folder / f"{name}.crst_check") == (1, (24, 30, 36), source["spin"])
        assert "scf.restart" in (tmp_path / "run" / "RESTART.txt").read_text()
        for atom in range(1, source["atoms"] + 1):
            found = restart.read_atom(folder / f"{name}.rst{atom}")
            assert found.spin_orbit == (source["spin"] == 3)
            at = 0
            for j, cell, size in zip(
                found.neighbour_atoms + 1,
                found.neighbour_cells.tolist(),
                found.n_orbitals * found.neighbour_orbitals,
                strict=True,
            ):
                key = (atom, int(j), tuple(cell))
                for part in range(min(3, source["spin"] + 1)):
                    expected = np.ravel(source["H"][part][key])
                    got = found.hamiltonian[part, at : at + size]
                    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
                    density = found.density[part, at : at + size]
                    expected = np.ravel(source["DM"][part][key])
                    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-14)
                at += size
            assert at == found.hamiltonian.shape[1]
        assert samples.cli(*command, "--set", "grid=24,30,36").out.count("nothing to do") == 1

    def test_the_grid_is_needed(self, tmp_path):
        unified = samples.unified(tmp_path / "unified")
        for given in ([], ["--set", "grid=1,2"], ["--set", "grid=a,b,c"], ["--set", "grid"]):
            to = ["--to", "openmx-restart", "--matrices", "H,S", "-o", tmp_path / "x"]
            word = "name=value" if given[-1:] == ["grid"] else "grid=N1,N2,N3"
            samples.refused(samples.cli("convert", unified, *to, *given), word)
        assert samples.names(tmp_path) == ["unified"]

    def test_restart_files_are_not_read(self, tmp_path):
        samples.refused(
            samples.cli("convert", tmp_path, "--from", "openmx-restart"), "written, not read"
        )


def test_order_of_the_shells_is_undone_by_its_inverse(rng):
    basis = Basis.from_ls({"X": [2, 0, 3, 1, 0]}, ("X", "X"))
    pairs = Pairs(np.zeros((3, 3)), np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    n = int(basis.counts[0])
    entries = rng.normal(size=(2, 3 * n * n))
    there = shell_orders(basis, "openmx", sort_by_l=True)
    back = {label: order.inverse for label, order in there.items()}
    turned = reorder_entries(entries, basis, pairs, there)
    assert not np.array_equal(turned, entries)
    np.testing.assert_array_equal(reorder_entries(turned, basis, pairs, back), entries)
