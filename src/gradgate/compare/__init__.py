"""Methods side by side on the same rows: what each finds, decides and costs."""
