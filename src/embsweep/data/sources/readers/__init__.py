"""Readers of the supported file forms, one form per module. Each returns a table: column names and rows."""
