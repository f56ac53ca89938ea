"""Selection as pure functions: the objective, the winner, the promotion gate."""
