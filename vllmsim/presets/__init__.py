"""Models and devices that are common, with where their numbers come from."""
