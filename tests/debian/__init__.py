"""Tests of the Debian package's files."""
