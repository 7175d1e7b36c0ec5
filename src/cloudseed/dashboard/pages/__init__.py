"""The dashboard's pages, a module a noun."""
