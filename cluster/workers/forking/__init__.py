"""Workers that are forked from a process with the imports already done, on a local Ray and on `cluster start` nodes."""
