"""Closed forms: models by linear least squares, equivariant, without JAX."""

from dock.models.closed_form.family import KINDS, closed_form_of, fit_closed_form, read_closed_form
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.three_centre import ThreeCentre, fit_three_centre
from dock.models.closed_form.two_centre import TwoCentre, fit_two_centre

__all__ = [
    "KINDS",
    "ClosedForm",
    "ThreeCentre",
    "TwoCentre",
    "closed_form_of",
    "fit_closed_form",
    "fit_three_centre",
    "fit_two_centre",
    "read_closed_form",
]
