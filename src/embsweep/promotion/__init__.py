"""The second use case: challenger to champion, and back."""
