"""Retrieval evaluation: encode once, rank at every dimension, metrics per query, BM25."""
