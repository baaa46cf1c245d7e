"""Files: complete under their final name or not there, HDF5, text, numbers."""
