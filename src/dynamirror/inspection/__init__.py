"""Measures how right the cache is: asks it as a client would, and trusts no replicator."""
