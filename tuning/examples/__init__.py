"""Experiments to run as they are and to copy: YAML files, beside some of them the Python that they name; and scripts.

`tunefleet run NAME` runs one, `tunefleet init --example NAME` copies it with its Python into the working directory. The
scripts `own_script` and `own_search` are run by `python -m tuning.examples.NAME`, or as copies.
"""
