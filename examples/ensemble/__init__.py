"""Three models side by side, each in a process of its own; they vote, and a quorum of two is enough."""
