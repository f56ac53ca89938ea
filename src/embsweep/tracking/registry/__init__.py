"""Registered models: versions, aliases, evidence and decisions."""
