"""Dash's routes other than callbacks: the HTML document, the layout, files; and Dash pages.

In: requests for the page, its layout, its dependencies or a file. Out: HTML, JSON and files.
Called by the app at start-up, and by the gateway or Quart for each of these routes.
"""
