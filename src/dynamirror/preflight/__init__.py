"""Checks a deployment against the AWS account before anything is deployed."""
