"""Grids of cells: what a study asks, who works at it, and what it found."""
