"""The Dash components of this package, and the thumbnails shown in place of graphs.

In come children and options of a layout; out come components that `flash_lazy.js` renders.
Called by users' layouts and by loaders.
"""
