"""What every package may use: errors, names, atomic files, subprocesses, process groups."""
