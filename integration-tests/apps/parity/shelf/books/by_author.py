from flash import html, register_page

register_page(
    __name__,
    path_template="/authors/<author>",
    redirect_from=["/writers"],
    title=lambda author=None: f"By {author}",
    description=lambda author=None: f"All of {author}",
)


def layout(author=None, year=None, **_):
    return html.H1(f"{author} {year}", id="heading")
