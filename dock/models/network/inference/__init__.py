"""Predictions of networks: one structure, many, or one of any size, cut into parts."""
