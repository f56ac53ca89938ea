"""Output for users: progress of a running sweep, the result at its end, the model card."""
