"""How `bench/race` works: `rows` says who runs what against what bounds, `contestants` how each of them is run,
`measure` what is taken down meanwhile, and `report` how it is told. `resume`, `network` and `disk` know one thing each.
"""
