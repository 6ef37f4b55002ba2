"""Pretrained models and tokenizers: which files they are, whether they can be used, how they are loaded."""
