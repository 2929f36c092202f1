"""The fault campaign: ``python -m chaos --seed N --minutes M``; what it does, docs/chaos.md."""
