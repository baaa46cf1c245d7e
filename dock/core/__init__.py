"""The data model: structure, basis, atom pairs, matrices and what is computed from them."""
