"""The facts of every option that the program itself has: a module for related groups."""
