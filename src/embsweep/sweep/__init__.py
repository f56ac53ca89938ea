"""The first use case: check the request, score the baselines, run the trials, register the winner."""
