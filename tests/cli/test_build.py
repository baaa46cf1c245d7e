"""``dock build``."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dock.cli.build import build
from dock.converters.deeph.poscar import format_poscar, read_poscar
from dock.errors import DockError, OutputError, UsageError
from dock.structures import hexagonal_layer, perturb


def call(*arguments):
    result = CliRunner().invoke(build, [str(word) for word in arguments])
    if isinstance(result.exception, DockError):
        raise result.exception
    assert result.exception is None, result.exception
    return result.stdout


@pytest.fixture
def poscar(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text(format_poscar(hexagonal_layer("graphene")))
    return path


def test_twisted_bilayer_says_angle_and_strain(tmp_path, poscar):
    target = tmp_path / "moire" / "POSCAR"
    out = call("twisted-bilayer", "--layer", "graphene", "--m", 2, "-o", target)
    assert "76 atoms, twist 13.17" in out
    assert "strain of the top layer     +0.0000 %" in out
    assert read_poscar(target).n_atoms == 76
    with pytest.raises(OutputError, match="exists already"):
        call("twisted-bilayer", "--layer", "graphene", "--m", 2, "-o", target)
    row = json.loads(
        call("twisted-bilayer", "--bottom", poscar, "--m", 2, "-o", target, "--overwrite", "--json")
    )
    assert row["n_atoms"] == 76
    assert row["strain_top"] == [0.0, 0.0]


def test_two_layers_and_eight_integers(tmp_path, poscar):
    boron_nitride = tmp_path / "BN"
    boron_nitride.write_text(format_poscar(hexagonal_layer("BN")))
    target = tmp_path / "out" / "POSCAR"
    call(
        "twisted-bilayer", "--bottom", boron_nitride, "--top", poscar, "--strain", "both",
        "--integers", 5, 0, 0, 5, 5, 0, 0, 5, "-o", target,
    )  # fmt: skip
    assert read_poscar(target).formula == "B25N25C50"


def test_perturb_supercell_and_shift(tmp_path, poscar):
    out = call("perturb", poscar, "--amplitude", 0.05, "--count", 3, "-o", tmp_path / "set")
    assert "3 structures of 2 atoms" in out
    positions = [read_poscar(tmp_path / f"set/{k:03d}/POSCAR").positions for k in range(3)]
    assert not np.allclose(positions[0], positions[1])
    call("supercell", poscar, 2, 2, 1, "-o", tmp_path / "super")
    assert read_poscar(tmp_path / "super").n_atoms == 8
    call("supercell", "-o", tmp_path / "nine", "--", poscar, 1, 1, 0, -1, 2, 0, 0, 0, 1)
    assert read_poscar(tmp_path / "nine").n_atoms == 6
    call("twisted-bilayer", "--layer", "graphene", "--m", 1, "-o", tmp_path / "two")
    call("shift-layers", "-o", tmp_path / "shifted", "--", tmp_path / "two", 0.5, 0, -0.2)
    move = read_poscar(tmp_path / "shifted").positions - read_poscar(tmp_path / "two").positions
    assert np.count_nonzero(np.abs(move[:, 2] + 0.2) < 1e-9) == 14


def test_perturbed_copies_go_on_with_the_next_seed(tmp_path, poscar):
    words = ("perturb", poscar, "--amplitude", 0.05, "-o", tmp_path / "set", "--json")
    lines = call(*words, "--count", 2, "--seed", 5).splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [5, 6]
    assert json.loads(lines[1])["files"] == [str(tmp_path / "set" / "001" / "POSCAR")]
    again = perturb(read_poscar(poscar), 0.05, seed=6)
    assert np.array_equal(
        read_poscar(tmp_path / "set" / "001" / "POSCAR").positions, again.positions
    )


def test_bad_use(tmp_path, poscar):
    with pytest.raises(UsageError, match="either --layer NAME, or --bottom"):
        call("twisted-bilayer", "--m", 2, "-o", tmp_path / "x")
    with pytest.raises(UsageError, match="either --m"):
        call("twisted-bilayer", "--layer", "BN", "-o", tmp_path / "x")
    with pytest.raises(UsageError, match="3 or 9 integers, found 2"):
        call("supercell", poscar, 2, 2, "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()
