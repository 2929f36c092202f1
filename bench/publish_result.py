"""Write one task's result as a worker does: ``python -m bench.publish_result ID``.

Prints when the write began (``time.monotonic``, which all processes of a machine share).
"""

from __future__ import annotations

import sys
import time

from celery import states

from task import app

if __name__ == "__main__":
    app.backend.store_result("warm-up", None, states.STARTED)  # connects
    begin = time.monotonic()
    app.backend.store_result(sys.argv[1], 8, states.SUCCESS)
    print(begin)
