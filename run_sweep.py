"""Run a sweep: `python run_sweep.py +sweep=bgem3`. Further arguments fix or sweep any key or group of conf/."""

from embsweep.cli.main import main

if __name__ == "__main__":
    main()
