"""The shape of the table that `record_processors.py` records; needs no pyqlib."""

TIMES, INSTRUMENTS, COLUMNS = 6, 7, 3
FIT_TIMES = 4
