"""Stream: events of NATS JetStream, a run for every hundred, totals that are exact whatever dies."""
