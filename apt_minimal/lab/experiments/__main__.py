"""python -m apt_minimal.lab.experiments GRID: see `runner`, which worker processes must be able to import by name."""

from apt_minimal.lab.experiments.runner import main

if __name__ == "__main__":
    main()
