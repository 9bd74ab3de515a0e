"""The event-loop side: Python source that is compiled to C and runs without the GIL.

Every function here is called by redis-server on its main thread (or, where it
says so, in a forked child or on the lazy-free thread) and touches C values only.
Nothing here may take the GIL, call cffi, or wait for a worker; the exceptions,
``rai_job_run_in_place``, are commented where they stand.

The modules are compiled by Cython in pure-Python mode. A ``.pxd`` beside each
module declares what the others may call.
"""
