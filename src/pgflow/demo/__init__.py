"""The seed's email campaign on real input: 1,000 subscribers, an SMTP server, two workers, one of them killed."""
