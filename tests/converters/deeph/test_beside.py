"""Nothing of a unified folder is passed over: what is not read is named and carried along."""

import json
import logging
import shutil
import string

import h5py
import numpy as np
import pytest
import samples
from hypothesis import HealthCheck, given, settings, strategies as st

import dock
from dock.converters import WriteOptions
from dock.converters.deeph.beside import RESULTS
from dock.converters.deeph.pattern import DATASETS
from dock.errors import FormatError

SOURCE = samples.ROOT / "fixtures" / "deeph" / "o2_collinear"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SOURCE, tmp_path / "x")


def keys(folder, **changes):
    path = folder / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def convert(folder, target, *words, code=0):
    answer = samples.cli("convert", folder, "--from", "deeph", "-o", target, *words)
    assert answer.code == code, answer
    return answer


# ------------------------------------------------------------------- any folder, anything beside

words = st.text(string.ascii_letters + "_.", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and not name.startswith(".")
)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()
values = st.recursive(
    st.none() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
arrays = st.sampled_from(
    [
        np.arange(3.0),
        np.float32(2.5),
        np.array([[1 + 2j]]),
        np.array(["a", "bc"], dtype=h5py.string_dtype()),
        np.array(b"fixed"),
        np.zeros((0, 3), np.int8),
        "text",
        h5py.Empty("f8"),
    ]
)
KNOWN_KEYS = [*json.loads((SOURCE / "info.json").read_text()), "dock"]
KNOWN_KEYS += ["split_hkb", "hamiltonian_storage", "spin_treatment"]
extra_keys = st.dictionaries(words.filter(lambda name: name not in KNOWN_KEYS), values, max_size=3)
extra_files = st.dictionaries(
    st.lists(words, min_size=1, max_size=2).map("/".join), st.binary(max_size=20), max_size=3
)
extra_data = st.dictionaries(
    words.filter(lambda name: name not in DATASETS and "." not in name), arrays, max_size=2
)


def place(folder, name, content):
    """Make a file unless its name is taken; say whether it was made."""
    path = folder / name
    if path.exists() or any(parent.is_file() for parent in path.parents if parent != folder):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return True


def plain(value):
    """A value of an HDF5 file that can be compared."""
    if isinstance(value, h5py.Empty):
        return "empty"
    array = np.asarray(value)
    return (array.dtype.kind, array.shape, array.tolist())


def content(file):
    """All of an HDF5 file but the four datasets and our attributes."""
    found = {}
    with h5py.File(file) as h5:
        h5.visititems(
            lambda name, item: found.update(
                {name: plain(item[()]) if isinstance(item, h5py.Dataset) else "group"}
                | {f"{name}@{key}": plain(value) for key, value in item.attrs.items()}
            )
        )
        found |= {f"@{key}": plain(value) for key, value in h5.attrs.items()}
    return {name: value for name, value in found.items() if name not in DATASETS}


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(extra_keys, extra_files, extra_data, extra_data, st.sampled_from(["H", "S"]))
def test_never_silently_narrower(tmp_path_factory, new_keys, files, data, attributes, where):
    """After ``convert`` all is there, or the command has said what is not, or has refused."""
    root = tmp_path_factory.mktemp("any")
    folder = shutil.copytree(SOURCE, root / "x")
    keys(folder, **new_keys)
    made = {name: data for name, data in files.items() if place(folder, name, data)}
    matrix = {"H": "hamiltonian.h5", "S": "overlap.h5"}[where]
    with h5py.File(folder / matrix, "r+") as file:
        group = file.create_group("more/of it") if data else file
        for name, value in data.items():
            file.create_dataset(name, data=value) if name != "more" else None
            group.attrs[name] = value
        for name, value in attributes.items():
            file.attrs[name] = value
            file["entries"].attrs[name] = value
    try:
        names = " ".join(row["name"] for row in dock.read(folder).beside.rows())
    except FormatError:  # a key that may mean something
        answer = convert(folder, root / "y", code=2)
        assert any(name in answer.err for name in new_keys), answer
        assert not (root / "y").exists()
        return
    answer = samples.cli("convert", folder, "--from", "deeph", "-o", root / "y")
    if answer.code:  # an attribute that names another unit, say
        assert any(name in answer.err for name in attributes), answer
        return
    after = json.loads((root / "y" / "info.json").read_text())
    for name, value in new_keys.items():
        assert after[name] == value
        assert name in names
    for name, data_ in made.items():
        carried = root / "y" / name
        assert name in names
        assert name in answer.err or carried.read_bytes() == data_
    before, now = (content(place_ / matrix) for place_ in (folder, root / "y"))
    assert before.items() <= now.items()
    assert all(name in names for name in (*data, *attributes))


# --------------------------------------------------------------------------------- known things


@pytest.mark.shared
def test_eight_side_files(shared, tmp_path):
    folder = shared / "cases" / "K12-deeph-2026" / "E1_side_files"
    sides = {"e0s.json", "electric_response.h5", "force.h5", "hamiltonian0.h5"}
    sides |= {"hamiltonian_init.h5", "momentum.h5", "potential_r.h5", "wavefunction_ao.h5"}
    answer = samples.cli("info", folder)
    assert all(name in answer.out for name in sides)
    assert "unknown" not in answer.out.split("origin")[0]
    convert(folder, tmp_path / "y")
    assert sides <= set(samples.names(tmp_path / "y"))
    for name in sides & {"e0s.json", "force.h5", "potential_r.h5", "wavefunction_ao.h5"}:
        assert (tmp_path / "y" / name).read_bytes() == (folder / name).read_bytes()
    assert convert(folder, tmp_path / "y").out.count("nothing to do") == 1


def test_info_and_check_name_everything(folder):
    keys(folder, max_num_neighbors=40, colour="red")
    with h5py.File(folder / "force.h5", "w") as file:
        file["force"] = np.zeros((2, 3))
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("x")
    (folder / "band.h5").write_bytes(b"x")
    with h5py.File(folder / "overlap.h5", "r+") as file:
        file["error"] = 1.0
        file["entries"].attrs["origin"] = "x"
    names = {
        "force.h5": "energy, forces and stress",
        "notes/a.txt": "unknown",
        "band.h5": "result of H",
        "info.json: max_num_neighbors": "neighbours of a force field",
        "info.json: colour": "unknown",
        "overlap.h5: error": "unknown",
        "overlap.h5: attribute origin of entries": "unknown",
    }
    shown = json.loads(samples.cli("info", folder, "--json").out)["beside"]
    assert {row["name"] for row in shown} == set(names)
    assert all(names[row["name"]] in row["what"] for row in shown)
    text, check = samples.cli("info", folder).out, samples.cli("check", folder)
    assert check.code == 0
    assert all(name in text and f"note  beside       {name}" in check.out for name in names)


@pytest.mark.parametrize("pattern", RESULTS)
def test_results_are_not_carried_to_another_folder(folder, tmp_path, pattern):
    name = pattern.replace("*", "si") if "/" in pattern else f"run/{pattern.replace('*', 'si')}"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    answer = convert(folder, tmp_path / "y")
    assert f"not carried: {name} (result of H" in answer.err
    assert not (tmp_path / "y" / name).exists()
    # nor does a new one make the folder another
    (folder / name).write_bytes(b"xy")
    assert "nothing to do" in convert(folder, tmp_path / "y").out


def test_results_belong_to_the_hamiltonian_they_name(tmp_path):
    """By its hash, whatever the order of the pairs."""
    folder = samples.unified(tmp_path / "x", "h2o")
    for words in (("bands", "--points", 3), ("dos", "--mesh", 1, 1, 1)):
        assert samples.cli(words[0], folder, *words[1:], "-q").code == 0
    H = dock.read(folder).require("H")
    assert h5py.File(folder / "band.h5").attrs["hamiltonian_hash"] == H.digest()
    assert H.take_pairs(np.arange(len(H.pairs))[::-1]).digest() == H.digest()
    assert "another H" not in samples.cli("check", folder).out
    samples.rewrite(folder / "hamiltonian.h5", entries=lambda entries: 1.0001 * entries)
    out = samples.cli("check", folder).out
    for name in ("band.h5", "dos.h5"):
        line = next(line for line in out.splitlines() if f" {name}: " in line)
        assert "made from another H than that of this folder" in line


def test_states_go_with_their_hamiltonian(folder, tmp_path):
    (folder / "wavefunction_ao.h5").write_bytes(b"x")
    convert(folder, tmp_path / "y")
    assert (tmp_path / "y" / "wavefunction_ao.h5").is_file()
    answer = convert(folder, tmp_path / "z", "--matrices", "S")
    assert "not carried: wavefunction_ao.h5" in answer.err
    calc = dock.read(folder)
    other = calc.replace(matrices={"H": 2.0 * calc.require("H"), "S": calc.require("S")})
    dock.write(other, tmp_path / "w")
    assert samples.names(tmp_path / "w") == ["POSCAR", "hamiltonian.h5", "info.json", "overlap.h5"]


def test_what_a_changed_matrix_had_beside_is_said(folder, tmp_path, caplog):
    with h5py.File(folder / "hamiltonian.h5", "r+") as file:
        file["error"] = 1.0
    calc = dock.read(folder)
    other = calc.replace(matrices={"H": 2.0 * calc.require("H")})
    with caplog.at_level(logging.WARNING, "dock"):
        dock.write(other, tmp_path / "y")
    assert "not carried: error of hamiltonian.h5" in caplog.text


def test_other_formats_say_what_they_cannot_hold(folder, tmp_path):
    (folder / "force.h5").write_bytes(b"x")
    keys(folder, colour="red")
    answer = convert(folder, tmp_path / "y", "--to", "npz")
    assert "not carried to 'npz', which has no place: force.h5, info.json: colour" in answer.err


def test_regrouped_atoms(tmp_path):
    """Side files and unknown keys speak of the atoms in their own order: H O H becomes H H O."""
    folder = samples.unified(tmp_path / "x", "h2o")
    lines = (folder / "POSCAR").read_text().splitlines()
    elements = lines[5].split()
    assert (elements, lines[6].split()) == (["O", "H"], ["1", "2"])
    lines[5:7], lines[8:] = ["H O H", "1 1 1"], [lines[9], lines[8], lines[10]]
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    new = np.array([1, 0, 2])
    for file in folder.glob("*.h5"):
        samples.rewrite(
            file, atom_pairs=lambda pairs: np.c_[pairs[:, :3], new[pairs[:, 3]], new[pairs[:, 4]]]
        )
    (folder / "force.h5").write_bytes(b"x")
    keys(folder, moments=[1, 0, 2], max_num_neighbors=9)
    calc = dock.read(folder)
    assert calc.replace(fermi_level=1.0).beside is calc.beside
    assert calc.permute_atoms([2, 1, 0]).beside is None
    answer = convert(folder, tmp_path / "y")
    assert "because the atoms are regrouped: force.h5, info.json: moments\n" in answer.err
    after = json.loads((tmp_path / "y" / "info.json").read_text())
    assert (after["max_num_neighbors"], "moments" in after) == (9, False)
    assert after["dock"]["source_order"] == [0, 2, 1]


def test_a_changed_side_file_is_a_changed_folder(folder, tmp_path):
    (folder / "force.h5").write_bytes(b"x")
    convert(folder, tmp_path / "y")
    assert "nothing to do" in convert(folder, tmp_path / "y").out
    (folder / "force.h5").write_bytes(b"xy")
    convert(folder, tmp_path / "y", code=2)
    convert(folder, tmp_path / "y", "--overwrite")
    assert (tmp_path / "y" / "force.h5").read_bytes() == b"xy"


def test_folders_inside_are_their_own(folder, tmp_path):
    shutil.copytree(SOURCE, folder / "inside")
    (folder / "link").symlink_to(tmp_path)
    (folder / "gone.h5").symlink_to(folder / "nothing")
    answer = convert(folder, folder / "out")
    assert "gone.h5 (no ordinary file)" in answer.err
    assert "link (no ordinary file)" in answer.err
    assert {"inside", "out"}.isdisjoint(samples.names(folder / "out"))
    assert "inside/ (unified folder of its own)" in answer.err
    assert "inside/: unified folder of its own" in samples.cli("info", folder).out
    convert(folder, folder / "out", "--overwrite")
    assert not (tmp_path / "x" / "out" / "out").exists()


def test_links_in_a_matrix_file_stay_links(folder, tmp_path):
    with h5py.File(folder / "overlap.h5", "r+") as file:
        file["to_entries"] = h5py.SoftLink("/entries")
        file["to_nothing"] = h5py.SoftLink("/nothing")
        file["elsewhere"] = h5py.ExternalLink("gone.h5", "/x")
    convert(folder, tmp_path / "y")
    with h5py.File(tmp_path / "y" / "overlap.h5") as file:
        assert np.array_equal(file["to_entries"], file["entries"])
        assert file.get("to_nothing", getlink=True).path == "/nothing"
        assert file.get("elsewhere", getlink=True).filename == "gone.h5"


def test_a_matrix_behind_links_is_read(folder):
    S = dock.read(folder).overlap.entries
    (folder / "overlap.h5").rename(folder / "raw.h5")
    with h5py.File(folder / "overlap.h5", "w") as file:
        for name in DATASETS:
            file[name] = h5py.ExternalLink("raw.h5", f"/{name}")
    assert np.array_equal(dock.read(folder).overlap.entries, S)


def test_energies_and_further_datasets_are_named(folder):
    (folder / "e0s.json").write_text('{"e0s": {"O": -432.5}, "standardized": true}')
    with h5py.File(folder / "force.h5", "w") as file:
        file["force"], file["charges"] = np.zeros((2, 3)), np.zeros(2)
    answer = samples.cli("info", folder)
    assert "O -432.5 eV (subtracted from energies)" in answer.out
    assert answer.out.count("(unknown)") == 1
    assert "charges (unknown)" in answer.out
    assert samples.cli("wavefunction", folder).code == 0
    assert samples.cli("info", folder).out.count("(unknown)") == 1  # those of dock are known


def test_halves_that_are_written_as_zeros_are_said(folder, tmp_path, caplog):
    calc = dock.read(folder)
    H = calc.hamiltonian
    kept = np.flatnonzero((H.pairs.i != 1) | (H.pairs.j != 0))
    parts = {"overlap": calc.overlap, "hamiltonian": H.take_pairs(kept)}
    dock.write(calc.replace(matrices=parts), tmp_path / "y")
    assert "hamiltonian lack their partner (−R, j, i), which is written as zero" in caplog.text
    caplog.clear()
    parts["hamiltonian"] = H.take_pairs(np.flatnonzero(H.pairs.i == H.pairs.j))
    dock.write(calc.replace(matrices=parts), tmp_path / "z")
    assert "partner" not in caplog.text


def test_another_hamiltonian_that_is_named(folder, tmp_path):
    """The prediction is H; the folder's own H has its name taken, and that is said."""
    shutil.copy(folder / "hamiltonian.h5", folder / "hamiltonian_pred.h5")
    with h5py.File(folder / "hamiltonian_pred.h5", "r+") as file:
        file.attrs["model"] = "abc"
    convert(folder, tmp_path / "y")
    assert (tmp_path / "y" / "hamiltonian_pred.h5").is_file()
    answer = convert(folder / "hamiltonian_pred.h5", tmp_path / "z")
    assert "not carried: hamiltonian.h5 (the prediction is the H" in answer.err
    assert not (tmp_path / "z" / "hamiltonian.h5").exists()
    with h5py.File(tmp_path / "z" / "hamiltonian_pred.h5") as file:
        assert file.attrs["model"] == b"abc"


def test_both_files_of_a_split_hamiltonian(tmp_path, caplog):
    folder = shutil.copytree(SOURCE.parent / "o2_soc_split", tmp_path / "x")
    for name in ("hamiltonian", "hkb"):
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            file[f"of_{name}"] = 1.0
    calc = dock.read(folder)
    with caplog.at_level(logging.WARNING, "dock"):
        dock.write(calc, tmp_path / "y")
    assert "not carried: of_hkb of hkb.h5" in caplog.text
    assert "of_hamiltonian" in h5py.File(tmp_path / "y" / "hamiltonian.h5")
    dock.write(calc, tmp_path / "z", settings={"layout": "split-hkb"})
    for name in ("hamiltonian", "hkb"):
        with h5py.File(tmp_path / "z" / f"{name}.h5") as file:
            assert f"of_{name}" in file


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap_storage", "upper"),
        ("energy_unit", "Hartree"),
        ("hamiltonian_is_difference", True),
        ("harmonics", "condon-shortley"),
        ("gauge", 1.5),
        ("energyUnit", "Ha"),
        ("spin-order", "interleaved"),
        ("upper_triangle", True),
    ],
)
def test_keys_that_may_change_the_matrices(folder, key, value):
    keys(folder, **{key: value})
    with pytest.raises(FormatError, match=f"{key}.*unknown key may change what the matrices mean"):
        dock.read(folder)
    for nothing in (None, False):
        keys(folder, **{key: nothing})
        assert dock.read(folder).beside.names() == [f"info.json: {key}"]


def test_keys_of_dock_and_more_elements(folder, tmp_path):
    shells = {"Si": [0, 1], "O": [0, 0, 1, 1, 2]}
    own = {"format_version": "1.3", "colour": {"a": 1}, "provenance": {"run": 7}}
    keys(folder, elements_orbital_map=shells, dock=own, orthogonal_basis=True, number=float("nan"))
    calc = dock.read(folder)
    assert "info.json: dock.colour" in calc.beside.names()
    dock.write(calc, tmp_path / "y")
    after = json.loads((tmp_path / "y" / "info.json").read_text())
    assert after["elements_orbital_map"] == shells
    assert after["orthogonal_basis"] is True
    assert np.isnan(after["number"])
    assert (after["dock"]["colour"], after["dock"]["provenance"]["run"]) == ({"a": 1}, 7)
    keys(folder, dock="of another program")
    answer = convert(folder, tmp_path / "z")
    assert "the key dock of info.json" in answer.err


def test_chosen_matrices_carry_the_rest(folder, tmp_path):
    (folder / "force.h5").write_bytes(b"x")
    dock.write(dock.read(folder), tmp_path / "y", options=WriteOptions(quantities=("S",)))
    assert samples.names(tmp_path / "y") == ["POSCAR", "force.h5", "info.json", "overlap.h5"]
