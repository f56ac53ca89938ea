"""Base models and training losses, built from the configuration."""
