"""Promises of ``docs/threat-model.rst``, held against the daemon."""
