"""Attacks on a whole system of ours, one after another: ``make attack``."""
