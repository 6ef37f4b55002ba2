"""The points, a file each: `NUMBER` in the table, and `measure(settings) -> Row`. A new file is a new sub-command."""
