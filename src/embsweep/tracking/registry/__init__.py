"""Registered models: versions, aliases, evidence, decisions."""
