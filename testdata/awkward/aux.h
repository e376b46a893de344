The name of this file has: a name Windows keeps for a device.
