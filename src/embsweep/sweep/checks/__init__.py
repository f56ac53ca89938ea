"""Checks of a request before anything is trained."""
