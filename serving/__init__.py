"""What serving HTTP needs beside Tornado: sockets, processes, limits on connections, stopping.

`listening` has the sockets and `processes` forks; one server class adds to the other: `deadlines`
cuts off slow requests, `connections` bounds how many there are, `draining` stops without a loss.
"""
