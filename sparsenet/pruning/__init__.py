"""Floor 4: score -> mask -> retrain.

`scores`, `masks`, `strategies` and `schedules` see arrays only; `scoring` and `cycle` join them to the network;
`dependency` and `surgery` know what belongs to a unit.
"""
