"""A new app: `flash new` writes the files of `template`, of which options choose parts.

In: a folder, a title, what the app is to have. Out: files. Called by `flash.cli`.
"""
