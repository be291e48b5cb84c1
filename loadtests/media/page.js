// A player in a page of its own, with hls.js as the player page has it (`Player`): when does sound move?
// The sound moves once the element plays, has what comes next, and is MOVED_S behind the place where it began.
window.bench = (() => {
  const MOVED_S = 0.02;
  const LOOK_MS = 4;
  const PATIENCE_MS = 20_000;
  const SETTLED_S = 25;
  const { Hls, firstLevel, hlsConfig } = Player;
  const audio = document.body.appendChild(document.createElement("audio"));
  let broken = null;

  const until = (condition, limitMs, what) =>
    new Promise((resolve, reject) => {
      const beganMs = performance.now();
      const looking = setInterval(() => {
        const late = performance.now() - beganMs > limitMs;
        if (!condition() && !broken && !late) return;
        clearInterval(looking);
        if (condition()) resolve();
        else reject(new Error(broken ?? `${what} took longer than ${limitMs} ms`));
      }, LOOK_MS);
    });

  const moving = (fromS) =>
    until(
      () => !audio.paused && !audio.seeking && audio.readyState >= 3 && audio.currentTime > fromS + MOVED_S,
      PATIENCE_MS,
      "the sound",
    );

  const aheadS = () => {
    for (let number = 0; number < audio.buffered.length; number += 1) {
      const [start, end] = [audio.buffered.start(number), audio.buffered.end(number)];
      if (start <= audio.currentTime && audio.currentTime <= end) return end - audio.currentTime;
    }
    return 0;
  };

  return {
    /** From asking for the stream's address to moving sound, in ms. */
    async first(streamPath, token) {
      const beganMs = performance.now();
      const answer = await fetch(streamPath, { headers: { Authorization: `Bearer ${token}` } });
      if (!answer.ok) throw new Error(`GET ${streamPath}: ${answer.status}`);
      const { stream_url } = await answer.json();
      const hls = new Hls(hlsConfig(() => undefined));
      hls.on(Hls.Events.ERROR, (_event, data) => {
        if (data.fatal) broken = data.details;
      });
      hls.on(Hls.Events.MANIFEST_PARSED, () => {
        const first = firstLevel(hls.levels);
        if (first !== undefined) hls.startLevel = first;
        hls.startLoad(0);
        audio.play().catch((error) => (broken = String(error)));
      });
      hls.attachMedia(audio);
      hls.loadSource(stream_url);
      await moving(0);
      return performance.now() - beganMs;
    },

    /** From setting the place to moving sound, in ms. */
    async seek(toS) {
      const beganMs = performance.now();
      audio.currentTime = toS;
      await moving(toS);
      return performance.now() - beganMs;
    },

    /** Returns when the buffer is full, so that nothing more is fetched for a while; or when that takes too long. */
    async settled() {
      await until(() => aheadS() > SETTLED_S, PATIENCE_MS / 2, "the buffer").catch(() => undefined);
    },
  };
})();
