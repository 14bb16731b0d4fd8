"""Measurements, each beside a control in the same run."""
