"""The engine that works in steps."""
