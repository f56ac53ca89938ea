"""Join a Ray cluster of several machines and check its nodes."""
