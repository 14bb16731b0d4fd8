"""One process for each data-parallel rank, under a supervisor that serves nothing but health.

The supervising process builds no rank, and imports nothing of what ranks are made of.
"""
