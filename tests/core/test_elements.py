"""Element symbols: against ASE's table, and the markers for atoms that are none."""

import pytest

from dock.core.elements import SYMBOLS, atomic_number, element_of_label, symbol
from dock.errors import ConventionError


def test_the_table_is_that_of_ase():
    from ase.data import chemical_symbols

    assert list(SYMBOLS) == list(chemical_symbols)
    assert len(SYMBOLS) == 119


@pytest.mark.parametrize("number", [*range(119), *range(131, 137)])
def test_inverse(number):
    assert atomic_number(symbol(number)) == number


@pytest.mark.parametrize("number", [-1, 119, 130, 137])
def test_no_number(number):
    with pytest.raises(ConventionError, match=f"{number} is no atomic number"):
        symbol(number)


@pytest.mark.parametrize("name", ["", "si", "Xx", "My7", "14"])
def test_no_element(name):
    with pytest.raises(ConventionError, match="is no element"):
        atomic_number(name)


@pytest.mark.parametrize(
    ("label", "element"),
    [
        ("Fe1", "Fe"),
        ("Co", "Co"),
        ("C1", "C"),
        ("C_top", "C"),
        ("O_surface", "O"),
        ("Cx", "C"),
        ("My3", "My3"),
        ("My3b", "My3"),
        ("Mo", "Mo"),
        ("X", "X"),
        ("Ag.pz", "Ag"),
        ("7", None),
        ("fe", None),
        ("Qq", None),
        ("", None),
    ],
)
def test_element_of_label(label, element):
    assert element_of_label(label) == element
