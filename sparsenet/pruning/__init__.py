"""Floor 4: score -> mask -> retrain.

`scores`, `masks`, `strategies` and `schedules` see arrays only; `cycle` joins them to the network.
"""
