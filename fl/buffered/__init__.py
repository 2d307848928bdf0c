"""Averaging at the clients' own pace: `FedBuff`."""
