"""``python -m verifier``: the command."""

import sys

from verifier.cli import main

sys.exit(main())
