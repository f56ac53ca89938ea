"""Pairs as one judged collection, and its splits."""
