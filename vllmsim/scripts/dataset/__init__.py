"""``vllmsim-dataset``: makes a database of answers of people's own conversations."""
