"""The HTML document, the layout, the routes of Dash, and the app's pages.

In come requests for a page, its layout or its dependencies; out go HTML and JSON.
Called by the app when it starts and by the Quart app for each of these routes.
"""
