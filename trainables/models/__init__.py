"""Pretrained models and tokenizers: finding their files, checking that they can be used, loading them."""
