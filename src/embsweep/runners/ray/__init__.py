"""Trials as Ray Tune trials and Ray Train workers."""
