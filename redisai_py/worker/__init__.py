"""The worker side: Python that runs on worker threads, with the GIL.

Redis's event loop never waits for anything here. ``entry`` is where C threads
come in (through cffi), ``loop`` serves a device queue, ``control`` loads models
and backends, ``scheduler`` decides what runs next and knows neither threads nor
clocks, and ``native`` is the bridge to tensors and jobs. What every request passes
through is compiled with types.
"""
