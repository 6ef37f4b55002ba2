"""Presents results: the page, and what commands print about plans, data, results and status."""
