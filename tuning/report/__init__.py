"""How results are shown: the page, and what commands print about data and runs."""
