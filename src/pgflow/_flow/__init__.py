"""Parts of the authoring layer that `pgflow.flow` presents."""
