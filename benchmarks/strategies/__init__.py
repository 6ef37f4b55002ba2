"""The reference result: which search strategy was worth its GPU-seconds, on RTE and IMDB."""
