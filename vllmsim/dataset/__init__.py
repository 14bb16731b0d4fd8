"""Response sources: where answers take their words from."""
