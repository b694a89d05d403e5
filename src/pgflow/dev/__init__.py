"""`pgflow dev`: workers that follow the code while it is written, and a live view of the runs of its flows.

This process never imports the user's code, so that none of it can be stale here: each state of the code is an `edition`,
worker processes of their own. `watching` says when there is a new one, `session` replaces the old, `board` reads the runs,
`screen` and `terminal` show them.
"""
