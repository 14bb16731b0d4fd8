"""How the parts of a rank are made, as the configuration asks for them; :mod:`vllmsim.rank` puts them together."""
