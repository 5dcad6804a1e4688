"""Worlds that are taken down at the end, and a proxy that injects faults."""
