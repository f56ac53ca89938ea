"""Run trials as Ray Tune trials, each in one or several processes."""
