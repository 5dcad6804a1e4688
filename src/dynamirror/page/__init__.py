"""The live page: what a mirror does, in a browser on the same machine."""
