"""What is done about trials that fail, hang or run out of memory, and about nodes that are lost."""
