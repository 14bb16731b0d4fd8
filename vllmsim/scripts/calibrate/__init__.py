"""``vllmsim calibrate``: from reports of benchmarks to a configuration."""
