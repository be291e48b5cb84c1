"""The listener's connected devices by the latest list: one that comes late would show devices that are gone."""

from playhead.client.core.wire import ConnectedDevice, Devices


class DeviceList:
    """Lists come in events and snapshots, late and in any order."""

    def __init__(self) -> None:
        self.devices: tuple[ConnectedDevice, ...] = ()
        self._order = (0, 0)

    def take(self, told: Devices) -> bool:
        """Whether anything is different now."""
        order = (told.devices_order.epoch, told.devices_order.version)
        if order <= self._order:
            return False
        before, self.devices, self._order = self.devices, told.devices, order
        return before != told.devices
