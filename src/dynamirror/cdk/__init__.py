"""CDK constructs: one concern each, to deploy a mirror next to a table that already exists."""
