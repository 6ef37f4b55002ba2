"""Handles trials that fail, hang or run out of memory, and nodes that are lost."""
