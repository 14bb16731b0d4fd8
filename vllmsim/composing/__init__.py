"""Composing: what an answer is made of, before anything of it is due."""
