"""Run one trial: train, evaluate at fractions of its schedule, keep the best checkpoint, resume."""
