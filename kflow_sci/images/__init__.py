"""Images through the same core: data, spaces, and the model that joins transform, schedule and net."""
