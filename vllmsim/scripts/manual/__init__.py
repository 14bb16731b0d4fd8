"""Manual pages and shell completion, written from the option table: ``python -m vllmsim.scripts.manual FOLDER``."""
