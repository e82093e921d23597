"""What the request path costs, beside what others cost: `python benchmarks/request_path.py`.

Owns: the apps that are compared, the traffic they get, how it is measured, and how it is shown.
Does not own: the servers, which are the package's embedded ones, and the middleware, which is mounted as a host mounts it.
Must always hold: whatever is compared runs in one run, interleaved, each app in a process of its own, and gets the same
requests; an answer other than 200 ends the run.
"""
