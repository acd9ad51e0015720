"""The database backend: Django's for PostgreSQL, with cheap checks and prepared statements."""
