"""Who is there: announcements of nodes, their table, waiting for services, and peers."""
