"""`python -m synpose.cli`: the command where its script is not on the path."""

import sys

from synpose.cli.main import main

sys.exit(main())
