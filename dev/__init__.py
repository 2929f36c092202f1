"""The tools of a developer's machine: set-up, `make run`, a private broker, a mailbox."""
