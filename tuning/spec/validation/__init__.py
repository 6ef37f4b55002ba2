"""Checks of a spec: every mistake is found before anything starts, and reported with all others."""
