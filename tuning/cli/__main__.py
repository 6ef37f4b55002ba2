"""`python -m tuning.cli`: the same as the command `tunefleet`."""

import sys

from tuning.cli import main

sys.exit(main())
