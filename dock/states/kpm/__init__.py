"""Chebyshev expansions (KPM) with overlap: densities without eigenvectors; see `recursion`."""
