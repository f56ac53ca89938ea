"""Command line: read arguments, run a command, print its result, and exit with its exit code."""
