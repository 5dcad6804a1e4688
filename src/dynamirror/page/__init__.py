"""The live page: shows what a mirror does, in a browser on the same machine."""
