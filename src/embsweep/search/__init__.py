"""What to try and what to stop: one Optuna study a sweep, which is the ledger. Only this room knows Optuna."""
