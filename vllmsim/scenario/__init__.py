"""Plays scenarios on the ranks of this process."""
