"""The engines that are compared, each in a file of its own behind the protocol of `engine.py`."""
