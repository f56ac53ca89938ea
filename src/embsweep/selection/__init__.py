"""Pure functions that select models: the objective, the choice of the winner, the promotion gate."""
