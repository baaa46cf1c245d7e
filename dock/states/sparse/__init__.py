"""States of large systems: factorisations of H(k) − σS(k), and what is made of them."""
