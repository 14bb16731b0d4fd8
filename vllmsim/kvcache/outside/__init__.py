"""A cache outside this server, which several share."""
