"""Run a sweep: check the request, score the baseline, run the search and the confirmation, register the winner."""
