"""Telling people and other systems what happened: news from the store's tables, an outbox that survives, senders by kind."""
