"""The flow: when shells move, the path between start and target, and how to walk it.

The one idea: schedule, path, coupling and solver are separate values that know no network and no data.
"""
