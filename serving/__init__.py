"""What serving HTTP needs beside Tornado: sockets, processes, limits on connections, stopping.

`listening` has the sockets and `processes` forks. `server` takes connections within bounds
(`limits`), cuts off slow ones, and stops without a loss. Each `connection` reads its requests
with `parser`; `exchange` hands them to Tornado's handlers and sends their `answer`.
"""
