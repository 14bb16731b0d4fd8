"""Several data-parallel ranks of one process behind one door."""
