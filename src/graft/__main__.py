"""`python -m graft` is the command `graft`."""

from __future__ import annotations

import sys

from graft.cli.main import main

sys.exit(main())
