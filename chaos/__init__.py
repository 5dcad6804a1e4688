"""Breaks everything under a live writer, and compares the result: `make chaos`."""
