"""A long run of the real handler under faults, inspected all the while: `make soak`."""
