"""Runners of trials: in this process or on Ray, behind one protocol. No other package imports Ray."""
