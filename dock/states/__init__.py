"""From H and S to energies and states: problems, solvers, k-points, filling."""
