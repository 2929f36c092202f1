"""Tasks' states on an event loop, which follows the results' stream."""
