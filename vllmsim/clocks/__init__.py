"""Clocks: the machine's own, and those that simulated time goes by."""
