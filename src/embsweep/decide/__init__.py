"""Decisions as pure functions of numbers: the objective and the choice of the winner."""
