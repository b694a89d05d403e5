"""The parts of pgflow.plan."""
