"""Applications under test, one module each, named by the import string a server is given."""
