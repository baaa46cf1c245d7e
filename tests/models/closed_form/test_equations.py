"""What is fitted to a part of the blocks is what helps on structures that a fit has not seen."""

from dataclasses import replace

import numpy as np
import pytest

from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.models.closed_form.three_centre import fit_three_centre
from dock.models.closed_form.three_centre.equations import FOLDS, NOTHING, Equations
from dock.models.closed_form.three_centre.terms import bond_terms, site_terms
from dock.models.data.samples import find_samples, load_item
from dock.models.graph import build_graph
from dock.models.targets import Irrep, TargetLayout

TERMS = bond_terms(((0,), (0,)), 0, 4, natural=True)
IRREP = Irrep(0, True, 2, 0)  # two scalars


def equations(rng, count, truth, *, noise=0.0, folds=range(FOLDS), terms=TERMS, scale=None):
    """Random functions of `count` bonds a fold, and labels that are a sum of some of them."""
    found = Equations(terms, IRREP)
    for fold in folds:
        functions = rng.normal(size=(count, 1, terms.n_functions))
        labels = functions[:, 0] @ truth + noise * rng.normal(size=(count, 2))
        found.add(fold, functions, labels if scale is None else labels * scale)
    return found


def two_centres(rng):
    truth = np.zeros((TERMS.n_functions, 2))
    truth[: TERMS.n_single] = rng.normal(size=(TERMS.n_single, 2))
    return truth


def test_two_centres_where_no_more_is_there(rng):
    """Labels of two centres and noise: more functions than two centres would fit the noise."""
    found = equations(rng, 60, two_centres(rng), noise=0.3)
    assert TERMS.n_functions > 80
    solution = found.solve()
    assert solution.judged
    assert solution.degree == -1
    assert solution.weights.shape == (13, 2)
    assert np.all((solution.errors > 0.25) & (solution.errors < 0.45))  # the noise


def test_three_centres_where_they_are(rng):
    truth = 0.1 * np.exp(-TERMS.degrees)[:, None] * rng.normal(size=(TERMS.n_functions, 2))
    solution = equations(rng, 300, truth).solve()
    assert solution.degree == 4
    np.testing.assert_allclose(solution.weights, truth, atol=1e-6)
    assert np.all(solution.errors < 1e-6)


def test_nothing_where_functions_say_nothing(rng):
    solution = equations(rng, 30, np.zeros((TERMS.n_functions, 2)), noise=1.0).solve()
    assert solution.degree == NOTHING
    assert solution.weights.shape == (0, 0)
    assert np.all((solution.errors > 0.8) & (solution.errors < 1.2))


def test_what_occurs_in_one_fold_alone_is_not_judged(rng):
    solution = equations(rng, 200, two_centres(rng), folds=[1]).solve()
    assert not solution.judged
    assert solution.degree == -1
    size = 0.1 * np.sqrt(13)  # a tenth of the labels
    assert np.all((solution.errors > 0.4 * size) & (solution.errors < 2.5 * size))


def test_zeros_of_symmetry_stay_zeros(rng):
    solution = equations(rng, 50, two_centres(rng), scale=1e-12).solve()
    assert (solution.degree, solution.errors.tolist()) == (NOTHING, [0.0, 0.0])


@pytest.mark.parametrize("make", ["bonds", "sites"])
def test_fewer_functions_are_those_of_terms_of_a_lower_degree(make):
    """The weights of a chosen degree are stored without the others: the order must be the same."""
    if make == "bonds":
        whole, fewer = (bond_terms(((0, 1), (1,)), 1, d, natural=True) for d in (5, 2))
    else:
        whole, fewer = (site_terms((0, 1), 1, d, natural=True) for d in (5, 2))
    chosen = Equations(whole, IRREP)._functions(2)
    np.testing.assert_array_equal(whole.degrees[chosen], fewer.degrees)
    alone = Equations(whole, IRREP)._functions(-1)
    assert np.count_nonzero(alone) == whole.n_single == fewer.n_single


def test_more_functions_must_help_in_each_fold(rng):
    """One crystal whose blocks products describe is no reason to trust them in others."""
    truth = np.zeros((TERMS.n_functions, 2))
    truth[TERMS.n_single :] = rng.normal(size=(TERMS.n_functions - TERMS.n_single, 2))
    found = equations(rng, 400, two_centres(rng), noise=0.5)
    functions = rng.normal(size=(400, 1, TERMS.n_functions))
    found.add(2, functions, functions[:, 0] @ truth)
    assert found.solve().degree == -1


def test_nothing_is_predicted_far_from_what_occurs(bundled):
    """An atom with thirty neighbours is described by functions that no label has ever tested."""
    samples = find_samples(bundled / "water")[:12]
    layout = TargetLayout(("H", "O"), ((0, 0, 1), (0, 0, 1, 1, 2)), Spin.NONE)
    items = [load_item(sample, layout) for sample in samples]
    model = fit_three_centre(lambda: iter(items), layout, np.zeros(4))
    structure, basis = items[0].graph.structure, items[0].graph.basis
    crowd = Structure(structure.cell, 0.3 * structure.positions, structure.numbers)
    graph = build_graph(crowd, basis, items[0].graph.full_pairs, layout.species)
    parts = layout.couple(model.predict(graph)[0])
    bounded = 0
    for irrep in layout.irreps:
        width = 2 * irrep.J + 1
        away = (parts - model.measured["site_centres"][graph.species])[:, irrep.place]
        lengths = np.linalg.norm(away.reshape(len(away), -1, width), axis=2)
        limits = model.measured["site_limits"][graph.species][:, irrep.place][:, ::width]
        assert np.all(lengths <= limits * (1 + 1e-9) + 1e-12)
        bounded += np.count_nonzero((lengths > 0.999 * limits) & (limits > 1e-6))
    assert bounded > 0
    free = layout.couple(replace(model, measured={}).predict(graph)[0])
    assert np.abs(free - parts).max() > 0.1
