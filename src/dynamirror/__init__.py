"""Keeps an ElastiCache (Valkey) cache an exact, ordered mirror of a DynamoDB table."""

__version__ = "0.1.0"
