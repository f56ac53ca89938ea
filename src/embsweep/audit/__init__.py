"""Audit of the data before training."""
