"""ETL: 10,000 rows of a CSV file validated, cleaned, transformed and loaded once; bad rows in quarantine."""
