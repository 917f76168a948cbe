"""``python -m itlib`` is the command line."""

import sys

from itlib.cli import main

sys.exit(main())
