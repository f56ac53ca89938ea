"""Suggest and prune trials, recorded in one Optuna study per sweep. No other package imports Optuna."""
