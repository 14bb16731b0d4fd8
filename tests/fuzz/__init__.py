"""What comes from strangers, by chance: whatever it is, nothing breaks, and others are served."""
