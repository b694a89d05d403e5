"""Batch inference on images: 100 PNG files through a model that each worker process loads once."""
