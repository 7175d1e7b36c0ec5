"""What runs on each host: asks the server for the whole wish over the bus and makes it so.  No database here."""
