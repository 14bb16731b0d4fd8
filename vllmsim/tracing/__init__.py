"""Requests as spans of OpenTelemetry, sent to a collector. Nothing of it is imported unless that is asked for."""
