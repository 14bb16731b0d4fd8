"""An hour of mixed load on a real daemon: nothing is lost, nothing grows, and nothing stands still."""
