"""Statistics of model comparisons: paired differences, resampling, confidence intervals, seed variance."""
