"""The commands of the device: a table, and a module of arguments for each."""
