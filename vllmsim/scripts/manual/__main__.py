"""``python -m vllmsim.scripts.manual FOLDER`` writes the pages and the completions into a folder."""

import os
import sys

from vllmsim.scripts.manual.command import run

raise SystemExit(run(sys.argv[1:], os.environ))
