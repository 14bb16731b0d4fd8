"""What stands between clients and routes: a chain, whose members each have one thing to do."""
