"""The listener's connected devices by the latest list: one that comes late would show devices that are gone."""

from playhead.client.core.effects import Tell
from playhead.client.core.events import DevicesChanged
from playhead.client.core.hands import Hands
from playhead.client.core.wire import ConnectedDevice, Devices


class DeviceList:
    """Lists come in events and snapshots, late and in any order."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self.devices: tuple[ConnectedDevice, ...] = ()
        self._order = (0, 0)

    def see(self, told: Devices) -> None:
        """Takes the list if it is the later one; tells where anything is different now."""
        order = (told.devices_order.epoch, told.devices_order.version)
        if order <= self._order:
            return
        before, self.devices, self._order = self.devices, told.devices, order
        if before != told.devices:
            self._hands.out(Tell(DevicesChanged(devices=told.devices)))
