"""Several data-parallel ranks of one process behind one door: requests find their rank, operators reach all."""
