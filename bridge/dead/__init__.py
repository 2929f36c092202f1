"""The dead queue: reading, recording, replaying and discarding dead-lettered messages."""
