"""Parts of `pgflow.codec`."""
