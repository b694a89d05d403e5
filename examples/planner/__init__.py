"""A model plans the work: its plans name registered handlers, are refused with reasons, mended, stored and run."""
