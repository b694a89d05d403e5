"""Microservices: an order passes four HTTP services, one of which is killed while it charges the customer."""
