"""Tests of being a service of systemd's."""
