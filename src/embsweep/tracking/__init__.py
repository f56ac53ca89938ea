"""Sweeps and trials in MLflow, winners in its model registry. The only room that imports mlflow, and late."""
