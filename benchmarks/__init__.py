"""`make bench`: how fast the engine is on a private embedded server. Judge by ratios within one run."""
