"""The report room: one self-contained HTML file, the result table and the comparison, all made from run directories.

Import from the modules: ``html.write_report``, ``tables.result_table``, ``compare.compare``. Nothing is imported here,
so that the command line can reach the tables without loading matplotlib.
"""
