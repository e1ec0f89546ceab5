"""What dajax costs, as ratios within one run: `python -m benchmarks`.

A group of cases is a module of this package; groups.py lists them. A case is a race of contenders:
race.py runs them, cases.py says what a case is and makes its rows of the table, machine.py
describes the machine, out_file.py keeps the table, contenders.py has what groups share.
"""
