"""Which orbital a row is, against what codes print and what writers write."""

import numpy as np
import pytest
from synthetic import random_case

import dock
from dock.core.orbital_listing import OWN_ORDERS, list_orbitals, order_of_code
from dock.core.orbital_order import reorder_entries, shell_orders


@pytest.mark.parametrize("run", ["h2o", "o2"])
def test_as_siesta_lists_them(bundled, run):
    """ORB_INDX has index, atom, species, index in the atom, n, l, m, zeta and a name."""
    text = (bundled / "siesta" / run / f"{run}.ORB_INDX").read_text()
    calc = dock.read(bundled / "siesta" / run)
    rows = list_orbitals(calc.basis, "siesta")
    printed = [line.split() for line in text.splitlines()[3 : 3 + len(rows)]]
    for row, words in zip(rows, printed, strict=True):
        shown = [row["index_in_code"], row["atom"], row["species"]]
        shown += [row["n"], row["l"], row["m"], row["zeta"]]
        wanted = [words[0], words[1], words[3], *words[5:9]]
        assert [str(part) for part in shown] == wanted
        assert words[10].lstrip("P") == row["orbital"]
        odd = row["m"] % 2 == 1
        assert row["orbital_in_code"] == ("−" if odd else "") + row["orbital"]


@pytest.mark.parametrize("code", OWN_ORDERS)
def test_as_matrices_are_reordered(code):
    """A block in the code's order is ours with the rows that the listing says, signs included."""
    matrix = random_case(11)
    basis, pairs = matrix.basis, matrix.pairs
    orders = shell_orders(basis, code, sort_by_l=OWN_ORDERS[code])
    moved = matrix.with_entries(reorder_entries(matrix.entries, basis, pairs, orders))
    rows = list_orbitals(basis, code)
    place = np.array([row["index_in_code"] - 1 for row in rows])
    assert sorted(place) == list(range(basis.n_orbitals))
    sign = np.array([-1 if row["orbital_in_code"][0] == "−" else 1 for row in rows])
    for atom in range(basis.n_atoms):
        begin, end = basis.offsets[atom : atom + 2]
        mine, theirs = matrix.block([0, 0, 0], atom, atom), moved.block([0, 0, 0], atom, atom)
        at, s = place[begin:end] - begin, sign[begin:end]
        np.testing.assert_array_equal(theirs[np.ix_(at, at)] * np.outer(s, s), mine)


def test_atoms_in_the_order_of_the_run(bundled):
    calc = dock.read(bundled / "siesta" / "h2o")
    order = [1, 0, 2]  # our first atom is the second of the run
    turned = calc.permute_atoms(order)
    own = {row["index_in_code"]: row for row in list_orbitals(calc.basis, "siesta")}
    for row in list_orbitals(turned.basis, "siesta", order):
        same = own[row["index_in_code"]]
        assert (same["species"], same["orbital"]) == (row["species"], row["orbital"])
        assert same["atom"] == order[row["atom"] - 1] + 1


def test_codes_whose_order_is_not_known():
    assert order_of_code("FHI-aims") is None
    rows = list_orbitals(dock.Basis.from_ls({"X": [0, 7]}, ["X"]))
    assert "index_in_code" not in rows[0]
    assert (rows[-1]["l"], rows[-1]["m"], rows[-1]["n"]) == (7, 7, None)
