"""MLflow as a store: its one client, what is written, and what is read back."""
