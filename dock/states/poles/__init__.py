"""Density matrices without states: poles, nested dissection, selected inversion."""
