"""``vllmsim bench clock``: how well this machine keeps the time that it is asked to keep."""
