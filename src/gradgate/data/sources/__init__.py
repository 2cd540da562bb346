"""Where rows come from: files, folders, stores, the hub, and memory."""
