"""An agent: a model decides which tools a question needs, the calls run as a map, the answer cites what they gave."""
