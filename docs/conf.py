"""The site's configuration: `make site` reads it. What makes pages out of lessons and links stands in pages.py."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pages

project = "apt-minimal"
author = copyright = "apt-minimal contributors"
version = release = pages.PROJECT["version"]
language = "en"

# The source folder is the repository's root, so that a link means the same on the site, on GitHub and on a disk.
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "docs/slides.md", "docs/results", "notebooks/solutions"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the stored outputs, which tests compare, or those that `make course` has just made
nb_render_markdown_format = "myst"  # tables that a cell displays
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]  # "key, value: ..." names two
python_display_short_literal_types = True

html_theme = "furo"
html_title = "apt-minimal"
html_static_path = ["site/site.css"]
html_css_files = ["site.css"]
html_favicon = "site/favicon.svg"
html_copy_source = False
html_show_search_summary = False  # it is fetched, which a page on a disk may not do
html_theme_options = {
    "source_repository": pages.REPOSITORY,
    "source_branch": "main",
    "source_directory": "",
    "top_of_page_buttons": ["edit"],
    # the courses' blue: that of APT and its gates
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
# MathJax in one file, out of a package: mathematics is set in the reader's browser, without a network.
html_static_path.append(
    f"{find_spec('sphinx-mathjax-offline').submodule_search_locations[0]}/static/mathjax/tex-svg-full.js"
)
mathjax_path = "tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}}


def setup(app):
    app.connect("source-read", pages.read)
    app.connect("autodoc-process-docstring", pages.docstring, priority=400)  # before napoleon
    app.connect("build-finished", pages.front_door)
