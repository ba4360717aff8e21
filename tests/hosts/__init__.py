"""Several hosts that share nothing but the URLs of PostgreSQL, Redis and the Graph API."""
