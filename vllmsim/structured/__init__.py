"""Answers that conform: values for JSON Schemas and texts for regular expressions, drawn at random.

Nothing here knows of requests, of the reactor or of a clock: what comes in is a schema or a pattern, ranges and a
generator; what comes out is a value. Everything that a client's schema decides is bounded.
"""
