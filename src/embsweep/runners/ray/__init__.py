"""Run trials as Ray Tune trials and Ray Train workers."""
