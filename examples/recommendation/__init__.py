"""Ten tracks for somebody who has just signed up: history and similar listeners side by side, then ranked and mixed."""
