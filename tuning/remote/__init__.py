"""Experiments on another cluster: what is sent there, what runs there, and what is fetched."""
