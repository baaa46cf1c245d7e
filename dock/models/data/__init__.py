"""From unified folders to padded batches: samples, checks, the graph store, batches."""
