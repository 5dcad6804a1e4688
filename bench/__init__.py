"""Measures dynamirror beside what it is compared with: `make bench`."""
