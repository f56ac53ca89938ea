"""Tracking of sweeps and trials as MLflow runs. Only this package imports MLflow, and only when it is needed."""
