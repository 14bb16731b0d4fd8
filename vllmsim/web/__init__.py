"""Delivery over HTTP: routes, sinks and the server itself."""
