"""Sweeps and trials as MLflow runs. Only here is MLflow imported, and late."""
