"""How soon sound comes, how fast it is encoded, and how many who ask at once are served: `dev.py bench media`.

sources     an hour of sound in five formats, made in seconds
place       PostgreSQL, Valkey, one server, a flusher; a worker when it is wanted
listener    a client over HTTP, by the contract: 503 is asked again after `Retry-After`
socket_player  a device on a socket, whose commands are answered before it fetches
browser     Chromium with hls.js
firsts      the first sound, and that after a seek: cold and warm, in each client
ladder      a script prepared by the worker, and one bare ffmpeg
demand      places nobody has encoded, by few who ask all the time
crowd       many who come within seconds, each to a place of its own
watching    ffmpeg's processes and memory meanwhile
figures     what all that comes to; `pictures` draws it
"""
