"""Modules that every other package may import: errors, names, atomic files, subprocesses, process groups."""
