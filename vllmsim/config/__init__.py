"""Configuration: described once in the schema, read from four sources, checked as a whole."""
