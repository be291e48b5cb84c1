"""The rules of HLS authoring for audio, and what breaks them: RFC 8216, Apple's specification, ISO/IEC 14496-12.

Pure: it is given bytes and says what is wrong with them. `playhead check-hls` fetches.

    check_multivariant, check_media_playlist   text → what it offers, breaches
    check_alike                                all variants together
    check_init, check_segment                  boxes → what they say, breaches
    check_timeline, check_rates                segments against their playlist
    check_playlist_delivery, check_media_delivery   HTTP
    DELIBERATE, UNRULED                        what playhead does not meet on purpose, and why
"""

from playhead.media.authoring.delivery import Delivery, check_media_delivery, check_playlist_delivery
from playhead.media.authoring.media import Fragment, Init, check_init, check_rates, check_segment, check_timeline
from playhead.media.authoring.mediaplaylist import MediaPlaylist, Segment, check_alike, check_media_playlist
from playhead.media.authoring.multivariant import Multivariant, Variant, check_multivariant
from playhead.media.authoring.rules import DELIBERATE, UNRULED, Breach, Demand, Rule, Unruled
from playhead.media.authoring.sampling import sampled

__all__ = [
    "DELIBERATE",
    "UNRULED",
    "Breach",
    "Delivery",
    "Demand",
    "Fragment",
    "Init",
    "MediaPlaylist",
    "Multivariant",
    "Rule",
    "Segment",
    "Unruled",
    "Variant",
    "check_alike",
    "check_init",
    "check_media_delivery",
    "check_media_playlist",
    "check_multivariant",
    "check_playlist_delivery",
    "check_rates",
    "check_segment",
    "check_timeline",
    "sampled",
]
