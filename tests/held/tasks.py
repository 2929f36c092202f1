"""Has no tasks: the worker's own ones will do."""

from __future__ import annotations

from bridge.backend import late_starts

late_starts.LATE_S = 600.0
