"""The folder of a run, here or in a bucket: who may write to it, what it holds, how it is found and removed."""
