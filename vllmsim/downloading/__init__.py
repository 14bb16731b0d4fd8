"""Files from the web: whole, checked, and there at once or not at all."""
