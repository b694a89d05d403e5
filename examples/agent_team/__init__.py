"""Agents together: research, analysis and validation in processes of their own, and a decision that a dissent changes."""
