"""Where events of the log go: which of them, in which form, and how those of ranks in processes come there."""
