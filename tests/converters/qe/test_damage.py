"""Cut and damaged runs of pw.x through the command line: a sentence, or the very same numbers."""

import random
import shutil

import h5py
import numpy as np
import pytest
import samples

N_CUTS, N_FLIPS = 20, 40


@pytest.fixture(
    scope="module", params=["dat", "folder", pytest.param("hdf5", marks=pytest.mark.shared)]
)
def run(request, bundled, tmp_path_factory):
    """A small run with the density in either form, or the folder that `dock` makes of it."""
    place = tmp_path_factory.mktemp(request.param) / "run"
    if request.param == "hdf5":
        shared = request.getfixturevalue("shared")
        source = shared / "public" / "qe" / "mos2_hdf5_qe71"
        place.mkdir()
        for name in ("charge-density.hdf5", "data-file-schema.xml"):
            shutil.copyfile(source / name, place / name)
        return place, "qe", "deeph"
    source = bundled / "qe" / "si" / "si.save"
    if request.param == "dat":
        shutil.copytree(source, place / "si.save", copy_function=shutil.copyfile)
        return place, "qe", "deeph"
    assert samples.cli("convert", source, "--from", "qe", "-o", place, "-q").code == 0
    return place, "qe-folder", "qe"


def convert(run, out):
    """Convert on the command line; return what was written, None where the run was refused."""
    place, source, target = run
    shutil.rmtree(out, ignore_errors=True)
    answer = samples.cli("convert", place, "--from", source, "--to", target, "-o", out, "-q")
    assert answer.code in (0, 2), answer
    assert "Traceback" not in answer.out + answer.err
    if answer.code:
        assert answer.err.startswith("dock: ")
        assert not out.exists()
        return None
    return contents(out)


def contents(folder):
    """Return every number and text of a folder by its place."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".h5", ".hdf5"):
            with h5py.File(path) as file:
                file.visititems(
                    lambda name, item, path=path: found.update(
                        {(path.name, name): item[()]} if isinstance(item, h5py.Dataset) else {}
                    )
                )
        elif path.is_file() and not path.name.startswith("."):
            found[path.name, ""] = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    return found


def is_same(one, two):
    return set(one) == set(two) and all(np.array_equal(one[key], two[key]) for key in one)


def files(place):
    found = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return [path for path in found if not path.name.startswith(".")]


def test_cut_files(run, tmp_path):
    whole, chance, refused = convert(run, tmp_path / "out"), random.Random(1), 0
    for path in files(run[0]):
        for end in samples.cut_short(path, chance, N_CUTS):
            converted = convert(run, tmp_path / "out")
            refused += converted is None
            assert converted is None or is_same(converted, whole), (path.name, end)
    assert refused > N_CUTS
    assert is_same(convert(run, tmp_path / "out"), whole)


def test_flipped_bits(run, tmp_path):
    """A value may change; the shapes may not, and nothing may become NaN or infinite."""
    whole, chance = convert(run, tmp_path / "out"), random.Random(2)
    for path in files(run[0]):
        for _ in samples.bits_flipped(path, chance, N_FLIPS):
            for (name, dataset), values in (convert(run, tmp_path / "out") or {}).items():
                if dataset:
                    assert np.shape(values) == np.shape(whole[name, dataset]), name
                if np.asarray(values).dtype.kind in "fc":
                    assert np.isfinite(values).all(), (name, dataset)
