def on_page_markdown(markdown, page, **_):
    return markdown
