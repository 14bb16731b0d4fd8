"""Tests of tokenizers: Models on the hub: their cache on this machine, and what fills it."""
