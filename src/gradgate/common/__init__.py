"""What has no domain in it: environment, escaping, state folder, scratch, files."""
