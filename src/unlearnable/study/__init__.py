"""Grids of cells: what a study asks, how it runs, and what it found."""
