"""Messages that died: what lies in the dead queue, and recording and replaying it."""
