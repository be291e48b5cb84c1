"""Engine.IO 4 for python-socketio: websockets on picows transports and long polling on aiohttp, on one port.

| module          | owns                                                                                     |
| --------------- | ---------------------------------------------------------------------------------------- |
| `packets`       | Engine.IO's packets and payloads (pure)                                                   |
| `heads`         | the head of a request, as far as it must be read to know whose connection it is (pure)    |
| `wheel`         | one timer for all pings and time limits                                                   |
| `inline`        | runs a coroutine at once, without a task as long as it does not wait                      |
| `turns`         | one connection's messages in order                                                        |
| `sessions`      | a session of Engine.IO, on whichever transport                                            |
| `websockets`    | a websocket of a client: from picows to a session and back                                |
| `polling`       | long polling, and websockets on connections that aiohttp has had                          |
| `front`         | reads the first head of a connection and gives it to picows or to aiohttp                 |
| `server`        | the Engine.IO server that python-socketio runs on                                         |
| `socket_server` | python-socketio's server and rooms on it                                                  |

Must not know: what the events mean, who may send them, sessions, playback. Nothing here is made per message: no task,
no queue, no timer, unless a handler waits.
"""
