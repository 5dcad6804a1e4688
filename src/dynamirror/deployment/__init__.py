"""What a `mirror.toml` says about the deployment of a mirror."""
