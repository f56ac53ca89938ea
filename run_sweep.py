"""Run a sweep: `python run_sweep.py +sweep=bgem3`. Any key or group of conf/ can be fixed or swept behind it."""

from embsweep.cli.main import main

if __name__ == "__main__":
    main()
