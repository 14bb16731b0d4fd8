"""How long the steps of an engine take."""
