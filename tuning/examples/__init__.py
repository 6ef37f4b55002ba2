"""Experiments to run as they are and to copy: YAML files, and beside some of them the Python that they name.

`tunefleet run NAME` runs one, `tunefleet init --example NAME` copies it with its Python into the working directory.
"""
