"""Which trials to run and which to stop: one Optuna study a sweep, the ledger. Only here is Optuna imported."""
