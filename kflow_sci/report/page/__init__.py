"""``report.html``: one file that shows candidates in a browser without network.

The one idea: Python writes what can be read without scripts (scores, what they mean, how they were made) and packs
poses; the script in the page only draws them.
"""
