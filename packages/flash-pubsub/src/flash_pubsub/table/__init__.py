"""Tables: rows by key that any process writes and that grids and graphs of all pages show.

In come rows from the app and from publishers; out go frames for the pages that show a table.
`flash_pubsub.pubsub` and `flash_pubsub.publisher` call it.
"""
