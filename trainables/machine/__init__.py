"""The machine of a process: clock, cores, memory, shared memory and disks."""
