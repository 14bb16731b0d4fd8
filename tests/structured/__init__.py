"""Values for schemas and texts for patterns."""
