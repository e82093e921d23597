"""Bytes of an answer in, its use out."""
