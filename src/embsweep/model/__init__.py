"""The base model and the training loss, built from the configuration."""
