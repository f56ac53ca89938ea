"""Faults of the data, found before anything is trained."""
