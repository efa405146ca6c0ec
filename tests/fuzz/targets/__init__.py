"""What is fuzzed: a module each, found by its name in this folder.

A target has `seeds()`, valid inputs to begin with; `run(data)`, which may raise a TsengineError and nothing else; and, where there are
checksums, `repair(data)`, which makes them good again, so that what lies behind them is reached. `MODULES` are those whose Python is to
be seen by the loop. Whatever is accepted is compared with what a second way of reading makes of it.
"""
