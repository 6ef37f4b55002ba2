"""What a process finds on its machine: clock, cores, memory, shared memory and disks."""
