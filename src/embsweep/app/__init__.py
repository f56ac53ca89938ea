"""The edge: arguments in, exit code out. The only room that knows Hydra, the terminal and the command line."""
