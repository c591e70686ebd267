"""`bench report`: what sweeps and runs found, as one HTML file that can be mailed, printed and read offline."""

from harness.report.cells import Cell, Report, find_folders, read_cells
from harness.report.page import render, write_report

__all__ = ["Cell", "Report", "find_folders", "read_cells", "render", "write_report"]
