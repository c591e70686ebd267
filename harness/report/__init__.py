"""`bench report`: what sweeps and runs found, as one HTML file that can be mailed, printed and read offline."""
