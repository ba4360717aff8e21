"""The dispatcher: what leaves the ledger, and when."""
