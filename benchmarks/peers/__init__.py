"""The code against which embsweep is measured: libraries as they are used, plain torch, and embsweep's own past."""
