"""The experiment as its user declares it: its fields, the file it stands in, and what is checked before it runs."""
