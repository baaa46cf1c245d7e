"""The closed-form model with three centres: linear in polynomials of bonds and of surroundings."""

from dock.models.closed_form.three_centre.fit import fit_three_centre
from dock.models.closed_form.three_centre.model import ThreeCentre

__all__ = ["ThreeCentre", "fit_three_centre"]
