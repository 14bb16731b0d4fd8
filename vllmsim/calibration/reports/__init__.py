"""What load generators write, read."""
