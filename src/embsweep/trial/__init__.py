"""One trial: train, evaluate every dimension, keep the best checkpoint. Knows nothing of sweeps."""
