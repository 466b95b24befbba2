"""A module whose import takes for ever."""

from __future__ import annotations

import sys
import threading

sys.stderr.write("importing\n")
sys.stderr.flush()
threading.Event().wait()
