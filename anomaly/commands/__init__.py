"""One module per subcommand. Each reads options, calls one function and prints."""
