"""Examples: programs and task packages built on Windmail."""
