"""The command line: verbs in files by what they are for; each parses, calls one function and prints."""
