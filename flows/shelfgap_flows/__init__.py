"""When and where: Prefect flows over the DVC graph, and the shelfgap command."""
