"""Paired comparisons, resampling, confidence intervals, seed variance."""
