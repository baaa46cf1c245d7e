"""How good a Hamiltonian is: metrics, reports over data sets, symmetry tests."""
