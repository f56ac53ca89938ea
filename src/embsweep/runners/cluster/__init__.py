"""Joining a Ray cluster of several machines, and the checks of its nodes."""
