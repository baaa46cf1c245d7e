"""The solver ``layers``: states of stacked layers, begun and corrected by those of each layer."""
