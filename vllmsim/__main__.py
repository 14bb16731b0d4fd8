"""``python -m vllmsim`` is the console script."""

from vllmsim.scripts.vllmsim import main

main()
