"""What a mirror does with a billion items: measured where it fits, and simulated beyond."""
