"""Orbitals on grids in space, and the files of fields on them."""
