"""What a run does, live in a terminal: a tree with progress, retries and time left; plain lines in a pipe.

`text` has words and numbers, `tree` the picture of a run, `follow` what looks again and again; imported one by one, since only
the picture needs rich. Most programs need no more than `Run.watch()` and `execute(…, live=True)`.
"""
