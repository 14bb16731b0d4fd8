"""What stands between the program and plugins, so that a broken one costs a request and nothing else."""
