"""The requests of a rank, as they are remembered and written down."""
