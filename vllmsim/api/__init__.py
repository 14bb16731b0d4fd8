"""Dialects: bytes to values and back, with no I/O, no clock and no configuration of their own."""
