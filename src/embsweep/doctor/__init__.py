"""Check a machine: print what a bug report needs, and run short steps on its GPUs (`embsweep doctor`)."""
