"""What serving HTTP needs beside Tornado: sockets, processes, limits on connections, stopping.

`listening` opens the sockets and `processes` forks. `server` takes connections within bounds
(`limits`), aborts those that are too slow, and stops without losing a request. Each `connection`
reads its requests with `parser`; `exchange` hands them to Tornado's handlers and sends their
`answer`.
"""
