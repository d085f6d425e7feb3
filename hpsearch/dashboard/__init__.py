"""The dashboard: Optuna's own, read-only; our pages will stand under /hp."""
