"""Grids of cells: what they are, how they run, and what is reported of them."""
