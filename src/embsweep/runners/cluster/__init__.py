"""Inspect a running Ray cluster of several machines, and run trials on it."""
