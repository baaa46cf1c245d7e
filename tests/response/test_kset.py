"""K-points of a response: in Python and as options of commands."""

import click
import numpy as np
import pytest
from click.testing import CliRunner

import dock
from dock.cli import options, response_options
from dock.errors import UsageError
from dock.response.kset import KSet
from dock.states.kmesh import KMesh
from dock.states.kplane import KPlane


@pytest.fixture(scope="module")
def calc():
    return dock.read("fixtures/openmx/si")


@pytest.mark.parametrize(
    ("where", "kind", "n", "words"),
    [
        ([[0, 0, 0], [0.5, 0, 0]], "list", 2, "(0.5, 0, 0)"),
        ([0.5, 0, 0], "list", 1, "(0.5, 0, 0)"),
        (KMesh.full((2, 2, 1)), "mesh", 4, "2×2×1"),
        (KPlane.of((1, 2), points=3), "plane", 9, "along b1 and b2"),
        ("LGX", "path", 93, "L–GAMMA GAMMA–X"),
    ],
)
def test_what_k_points_are(calc, where, kind, n, words):
    found = KSet.of(where, calc)
    assert (found.kind, found.n_points) == (kind, n)
    assert words in found.describe()
    assert found.facts()["n_kpoints"] == n
    assert len(found.arrays()["kpoints_frac"]) == n
    assert all(np.asarray(value).dtype != object for value in found.datasets().values())


@pytest.mark.parametrize("where", [[[0, 0]], [[0, 0, np.inf]]])
def test_points_that_are_none(calc, where):
    with pytest.raises(UsageError, match="three finite numbers"):
        KSet.of(where, calc)


def made(calc, *words):
    """What the options of k-points make of some words."""
    found = []

    @click.command()
    @response_options.k_options()
    @options.mesh_options
    def command(where, mesh):
        found.append(KSet.of(where.make(calc, mesh), calc))

    answer = CliRunner().invoke(command, list(map(str, words)), standalone_mode=False)
    if answer.exception:
        raise answer.exception
    return found[0]


def test_options_of_k_points(calc):
    listed = made(calc, "--k", 0, 0, 0.5, "--k", 0.1, 0.2, 0.3)
    assert listed.points.tolist() == [[0, 0, 0.5], [0.1, 0.2, 0.3]]
    assert made(calc, "--mesh", 2, 2, 2).mesh.n_points == 8  # not reduced unless a command says so
    plane = made(calc, "--plane", 3, 1, "--at", 0, 0.5, 0, "--points", 6, "--extent", 0.5).plane
    assert (plane.axes, plane.origin, plane.size) == ((3, 1), (0, 0.5, 0), (6, 6))
    assert made(calc, "--path", "GX", "--points", 7).path.n_kpoints == 7
    assert made(calc).kind == "path"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--k", 0, 0, 0, "--path", "GX"), "one of --k, --path"),
        (("--plane", 1, 2, "--mesh", 2, 2, 2), "one of --plane, --mesh"),
        (("--k", 0, 0, 0, "--at", 0, 0, 0), "--plane A B"),
        (("--k", 0, 0, 0, "--points", 4), "not of --k"),
    ],
)
def test_options_that_contradict(calc, words, message):
    with pytest.raises(UsageError, match=message):
        made(calc, *words)
